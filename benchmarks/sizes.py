"""How small the files of real networks become, by objective; nothing is timed.

python -m benchmarks.sizes a.safetensors b.safetensors
"""

from __future__ import annotations

from pathlib import Path

import tersely
from benchmarks import protocol, record
from benchmarks.protocol import Protocol
from tersely.core.choices import OBJECTIVES


def main() -> None:
    default = Protocol()
    parser = protocol.options(__doc__, default)
    parser.add_argument("models", type=Path, nargs="+", help="safetensors files")
    arguments = parser.parse_args()
    found = record.new("sizes", protocol.begin(arguments, default)) | {"rows": []}
    for path in arguments.models:
        row = {"model": path.stem, "bytes": path.stat().st_size, "bytes_after": {}}
        for objective in OBJECTIVES:
            report = tersely.compress(path, objective=objective, dry_run=True)  # type: ignore[arg-type]
            row["bytes_after"][objective] = report.bytes_after
        found["rows"].append(row)
        print(row, flush=True)
    record.save(found, arguments.output)


if __name__ == "__main__":
    main()

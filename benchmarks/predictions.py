"""Predicted against measured times of planned layers, and mixed plans against single formulations.

    python -m benchmarks.predictions a.safetensors b.safetensors [--profile FILE]

Without a profile this machine is calibrated first. Every layer that has a product of its own - matrices, and convolutions as the matrices that they
are - is coded as planned and timed from copies that rotate through memory; folded tensors have none.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import protocol, record
from benchmarks.protocol import Protocol
from tersely.codes import registry
from tersely.codes.protocol import Candidate, Request
from tersely.core.dtypes import by_name
from tersely.files import commands, plan_file
from tersely.files import folder as checkpoint
from tersely.files.compress_file import open_source
from tersely.files.container.reader import Reader
from tersely.files.encode_tensor import Options, reason_dense_already, request_of
from tersely.planner import choose, knapsack, profiles
from tersely.report import calibrate

SINGLE = (
    "split packed",
    "split layered",
    "sparse bitmap",
    "sparse gaps",
    *(name for name in registry.NAMES if name not in ("dense", "split", "sparse")),
)
"""Formulations that a whole network may be under: every kernel whose name begins so."""


def layers(path: Path, options: Options) -> list[tuple[str, Request]]:
    """Tensors of a file that the planner has a choice for."""
    reader: Reader = open_source(path)
    found = []
    for name in reader.names():
        if not reason_dense_already(reader, name, options):
            found.append((name, request_of(reader, name, options)))
    return found


def measured(request: Request, candidate: Candidate, plan: Protocol) -> float | None:
    """Nanoseconds of one product, or None where there is no kernel for it."""
    dtype = by_name(request.dtype).numpy
    array = request.words.view(dtype)
    set_bytes, threads = plan.working_set_bytes, plan.threads
    if candidate.kernel.formulation == "dense":
        if array.ndim != 2 or min(array.shape) < 16:
            return None
        run = calibrate.dense_run(array, request.batch, threads, set_bytes)
        return protocol.measure({"layer": run}, plan).median_ms["layer"] * 1e6
    tensor = calibrate.coded(array, candidate, threads)
    if tensor.matrix is None or tensor.geometry.view == "folded" or tensor.geometry.count > 1:
        return None
    run = calibrate.coded_run(calibrate.copies(tensor, set_bytes), array, request.batch, threads)
    return protocol.measure({"layer": run}, plan).median_ms["layer"] * 1e6


def predictions(path: Path, options: Options, plan: Protocol) -> list[dict[str, Any]]:
    rows = []
    for name, request in layers(path, options):
        chosen = choose.decide(request)[0]
        ns = measured(request, chosen.candidate, plan)
        if ns is not None:
            row = {
                "tensor": name,
                "kernel": str(chosen.candidate.kernel),
                "predicted_us": chosen.ns / 1e3,
                "us": ns / 1e3,
            }
            rows.append({**row, "error": abs(chosen.ns / ns - 1)})
    return rows


def mixed(path: Path, options: Options) -> list[dict[str, Any]]:
    """For each single formulation, dense where it does not help: the smallest mixed plan that takes no more time."""
    found = [plan_file.every_candidate(request) for _, request in layers(path, options)]
    sizes = [[(ns, float(one.nbytes)) for one, ns in offers] for offers in found]
    rows = []
    for single in SINGLE:
        picked = []
        for offers in found:
            fit = [k for k, (one, _) in enumerate(offers) if k == 0 or one.kernel.formulation == single]
            picked.append(min(fit, key=lambda k: offers[k][0].nbytes))
        ns = sum(offers[k][1] for offers, k in zip(found, picked, strict=True))
        own = sum(offers[k][0].nbytes for offers, k in zip(found, picked, strict=True))
        best = knapsack.choose(sizes, ns * (1 + 1e-9)) or picked
        mix = min(own, sum(offers[k][0].nbytes for offers, k in zip(found, best, strict=True)))
        rows.append({"single": single, "bytes": own, "mixed_bytes": mix, "predicted_us": ns / 1e3, "share": mix / own})
    return rows


def planning_time(path: Path, plan: Protocol) -> tuple[float, float]:
    """Seconds of planning a file, and of compressing it into another one, taking turns."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "compressed.safetensors"
        runs: dict[str, protocol.Run] = {
            "plan": lambda k: plan_file.make_plan(path),
            "compress": lambda k: commands.compress(path, target, force=True),
        }
        ms = protocol.measure(runs, replace(plan, seconds=0, minimum_rounds=3)).median_ms
    return ms["plan"] / 1e3, ms["compress"] / 1e3


def main() -> None:
    default = Protocol(seconds=0.1, working_set_bytes=calibrate.WORKING_SET_BYTES, tries=1)
    parser = protocol.options(__doc__, default)
    parser.add_argument("models", type=Path, nargs="+", help="safetensors files")
    parser.add_argument("--profile", type=Path, help="a file of `tersely calibrate`; else this machine is measured")
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    plan = protocol.begin(arguments, default)
    if arguments.profile is None:
        arguments.profile = Path("profile.json")
        arguments.profile.write_text(json.dumps(calibrate.calibrate(threads=plan.threads), indent=1) + "\n")
    profile = profiles.resolve(arguments.profile)
    found = record.new("predictions", plan) | {"profile": json.loads(arguments.profile.read_text()), "models": {}}
    errors: list[float] = []
    for path in arguments.models:
        source = checkpoint.find_source(path, False)
        options = Options("balanced", profile, threads=plan.threads, orientation=source.orientation)
        options = replace(options, batch=arguments.batch)
        rows = predictions(path, options, plan)
        own = [row["error"] for row in rows]
        errors += own
        comparison, seconds = mixed(path, options), planning_time(path, plan)
        found["models"][path.name] = {
            "layers": rows,
            "mixed": comparison,
            "plan_s": seconds[0],
            "compress_s": seconds[1],
        }
        print(f"{path.name}: {len(rows)} layers, median error {statistics.median(own or [0]):.1%}; ", end="")
        print(f"planning {seconds[0]:.2f} s, compressing {seconds[1]:.2f} s", flush=True)
        for row in comparison:
            single, size, best = row["single"], row["bytes"], row["mixed_bytes"]
            print(f"  {single:<14} {size:>10} bytes; mixed at its time {best:>10}, {row['share']:.3f}")
    found["median_error"] = statistics.median(errors or [0])
    print(f"all {len(errors)} layers: median error {found['median_error']:.1%}")
    record.save(found, arguments.output)


if __name__ == "__main__":
    main()

"""The six rows of the README, on this machine, in one record of one commit.

    python -m benchmarks.overview --minilm minilm.safetensors --resnet resnet50.safetensors

A token of a language model, a sentence through an encoder, a pruned and an int8 layer; and what becomes of the files
of the encoder and of a convolutional network, beside the best of the codecs that are installed. About ten minutes and 8 GB.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import tersely
from benchmarks import cases, files, models, peers, products, protocol, record
from benchmarks.protocol import Protocol

LAYERS = {"pruned": "float32 90% zeros", "integers": "int8 sigma 10"}


def layer(group: str, plan: Protocol) -> dict[str, Any]:
    """The fastest form of a layer that is smaller than dense, one row of x."""
    (case,) = (one for one in cases.cases((group,)) if one.what == LAYERS[group])
    rows = products.measure(case, plan, (1,), cases.SHAPE)
    best = min(rows, key=lambda row: row["ms"])
    bits = 8 * case.array((16, 16)).itemsize
    return {
        "dense": best["dense"],
        "dense_ms": best["dense_ms"],
        "ms": best["ms"],
        "smaller": bits / best["bits_per_weight"],
        "busy": best["busy"],
    }


def token(plan: Protocol, hidden: int, layers: int, tokens: int) -> dict[str, Any]:
    """A token of the Llama-shaped model, dense bfloat16 in PyTorch against objective `balanced`."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        models.make_folder(models.shape_of(hidden, layers), work / "dense")
        tersely.compress(work / "dense", work / "balanced", profile="native")
        row = models.token_row(work, ["balanced"], plan, tokens)
    weights = row["bytes"]["dense"] // 2
    return of_model(row) | {"smaller": row["bytes"]["dense"] / row["bytes"]["balanced"], "weights": weights}


def of_model(row: dict[str, Any]) -> dict[str, Any]:
    """Dense and `balanced` of a row of `benchmarks.models`."""
    ms = row["ms"]
    return {"dense": "PyTorch", "dense_ms": ms["dense"], "ms": ms["balanced"], "busy": row["busy"], "others_ms": ms}


def sizes(path: Path) -> dict[str, Any]:
    """A file under objective `size`, and its float tensors by the best other codec, every round trip compared."""
    report = tersely.compress(path, objective="size", dry_run=True)
    arrays = files.tensors_of(path)
    found = {}
    for name, peer in peers.installed(peers.CODECS).items():
        stored = [peer.encode(array) for array in arrays]
        if all(peers.same_bits(peer, one, array) for one, array in zip(stored, arrays, strict=True)):
            found[name] = sum(array.nbytes for array in arrays) / sum(one.nbytes for one in stored)
    return {"file": path.name, "bytes": report.bytes_before, "smaller": report.ratio, "others": found}


def main() -> None:
    default = Protocol()
    parser = protocol.options(__doc__, default)
    parser.add_argument("--minilm", type=Path, required=True, help="weights of all-MiniLM-L6-v2, float32")
    parser.add_argument("--resnet", type=Path, required=True, help="weights of ResNet-50, float32")
    parser.add_argument("--hidden", type=int, default=models.HIDDEN, help="width of the language model")
    parser.add_argument("--layers", type=int, default=models.LAYERS)
    parser.add_argument("--tokens", type=int, default=48)
    arguments = parser.parse_args()
    plan = protocol.begin(arguments, default)
    encoder = models.encoder_row(arguments.minilm, replace(plan, seconds=2 * plan.seconds))
    found = record.new("overview", plan)
    found["rows"] = {
        "token": token(plan, arguments.hidden, arguments.layers, arguments.tokens),
        "encoder": of_model(encoder) | {"smaller": 1 / encoder["memory"]["balanced"]},
        "pruned": layer("pruned", plan),
        "int8": layer("integers", plan),
        "encoder file": sizes(arguments.minilm),
        "convolutional file": sizes(arguments.resnet),
    }
    record.save(found, arguments.output)


if __name__ == "__main__":
    main()

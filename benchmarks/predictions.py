"""Predicted against measured times of planned layers, and mixed plans against single formulations.

`python -m benchmarks.predictions [--profile FILE]` on the real networks of ../shared/models; without a profile this machine
is calibrated first. Every layer that has a product of its own - matrices, and convolutions as the matrices that they
are - is coded as planned and timed from copies that rotate through memory; folded tensors have none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import tersely
from benchmarks.common import fingerprint, record_path
from tersely.codes import registry
from tersely.codes.protocol import Candidate, Request
from tersely.core.dtypes import by_name
from tersely.files import commands, plan_file
from tersely.files import folder as checkpoint
from tersely.files.compress_file import Options, open_source, reason_dense_already, request_of
from tersely.files.container.reader import Reader
from tersely.planner import choose, knapsack, profiles
from tersely.report import calibrate

MODELS = Path(__file__).parent.parent.parent / "shared" / "models"
SINGLE = (
    "split packed",
    "split layered",
    "sparse bitmap",
    "sparse deltas",
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


def measured(request: Request, candidate: Candidate, threads: int, seconds: float) -> float | None:
    """Nanoseconds of one product, or None where there is no kernel for it."""
    dtype = by_name(request.dtype).numpy
    array = request.words.view(dtype)
    set_bytes = calibrate.WORKING_SET_BYTES
    if candidate.kernel.formulation == "dense":
        if array.ndim != 2 or min(array.shape) < 16:
            return None
        return calibrate.nanoseconds(calibrate.dense_run(array, request.batch, threads, set_bytes), seconds)
    tensor = calibrate.coded(array, candidate, threads)
    if tensor.matrix is None or tensor.geometry.view == "folded" or tensor.geometry.count > 1:
        return None
    run = calibrate.coded_run(calibrate.copies(tensor, set_bytes), array, request.batch, threads)
    return calibrate.nanoseconds(run, seconds)


def predictions(path: Path, options: Options, seconds: float) -> list[dict[str, Any]]:
    rows = []
    for name, request in layers(path, options):
        chosen = choose.decide(request)[0]
        ns = measured(request, chosen.candidate, request.threads, seconds)
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


def planning_time(path: Path) -> tuple[float, float]:
    """Seconds of planning a file, and of compressing it into another one, in turn; the best of three each."""
    times: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "compressed.safetensors"
        runs = (lambda: plan_file.make_plan(path), lambda: commands.compress(path, target, force=True))
        for _ in range(3):
            for run, found in zip(runs, times, strict=True):
                start = time.perf_counter()
                run()
                found.append(time.perf_counter() - start)
    return min(times[0]), min(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--only", default="*.safetensors", help="glob of file names")
    parser.add_argument("--profile", type=Path, help="a file of `tersely calibrate`; else this machine is measured")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.1, help="for each layer")
    parser.add_argument("-o", "--output", type=Path, help="write every row here, not to records/")
    arguments = parser.parse_args()
    tersely.set_num_threads(arguments.threads)
    if arguments.profile is None:
        arguments.profile = Path("profile.json")
        arguments.profile.write_text(json.dumps(calibrate.calibrate(threads=arguments.threads), indent=1) + "\n")
    profile = profiles.resolve(arguments.profile)
    record: dict[str, Any] = {"machine": fingerprint(), "threads": arguments.threads, "models": {}}
    record["profile"] = json.loads(arguments.profile.read_text())
    errors: list[float] = []
    for path in sorted(arguments.models.glob(arguments.only)):
        source = checkpoint.find_source(path, False)
        options = Options("balanced", profile, threads=arguments.threads, orientation=source.orientation)
        options = replace(options, batch=arguments.batch)
        rows = predictions(path, options, arguments.seconds)
        own = [row["error"] for row in rows]
        errors += own
        comparison = mixed(path, options)
        seconds = planning_time(path)
        record["models"][path.name] = {
            "layers": rows,
            "mixed": comparison,
            "plan_s": seconds[0],
            "compress_s": seconds[1],
        }
        print(f"{path.name}: {len(rows)} layers, median error {statistics.median(own or [0]):.1%}; ", end="")
        print(f"planning {seconds[0]:.2f} s, compressing {seconds[1]:.2f} s", flush=True)
        for row in comparison:
            print(
                f"  {row['single']:<14} {row['bytes']:>10} bytes; mixed at its time {row['mixed_bytes']:>10}, {row['share']:.3f}"
            )
    print(f"all {len(errors)} layers: median error {statistics.median(errors or [0]):.1%}", file=sys.stderr)
    record["median_error"] = statistics.median(errors or [0])
    (arguments.output or record_path(record, "predictions")).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

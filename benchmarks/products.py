"""`make bench`: products of one matrix, dense against compressed and against others, by the cases of cases.toml.

    python -m benchmarks.products                           # everything: about an hour
    python -m benchmarks.products --group pruned --quick    # some of it, with one row of x

"Dense" is the fastest of our own dense kernel on the same layout (one row of x) and PyTorch's products. Our own must reach
95 % of a read-stream test in the same run, else the row is void: then the machine was busy, or the kernel is bad. int8 and 4-bit
weights are compared with tersely's product of the same weights, stored dense. A record is written for each group.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import tersely
from benchmarks import cases, peers, protocol, record
from benchmarks.cases import Case
from benchmarks.protocol import Protocol, Run
from tersely.backends.cpu import isa, native
from tersely.report import bench
from tersely.report.bench import VOID_BELOW, huge_copy
from tersely.tensors.tensor import Tensor

BOUNDS = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-2}
"""Most difference of answers, as a share of the largest one, by the dtype of x: sums are added in other orders."""
OWN, STREAM = "own dense kernel", "read stream"


def forms_of(case: Case, array: np.ndarray) -> dict[str, Tensor]:
    """The array in each form of the case that there is a use for here, by its label."""
    found: dict[str, Tensor] = {}
    for name in case.forms:
        if name in cases.OBJECTIVES:
            tensor, label = tersely.encode(array, objective=name, profile="native"), f"planned for {name}"
            if tensor.matrix is None or any(tensor.encoded.node == other.encoded.node for other in found.values()):
                continue
        else:
            options = dict(cases.FORMS[name])
            label = options.pop("label")
            if case.kind == "int4":
                options["int4_columns"] = array.shape[1] * 2
            tensor = tersely.encode(array, **options)
        found[label] = tensor
    return found


def copies_of(tensor: Tensor, count: int) -> list[Tensor]:
    """The tensor `count` times, every large component in memory of its own."""
    found = []
    for _ in range(count):
        components = {
            name: huge_copy(data) if data.nbytes > 1 << 16 else data.copy() for name, data in tensor.components.items()
        }
        found.append(Tensor(replace(tensor.encoded, components=components)))
    return found


def float_runs(
    case: Case, array: np.ndarray, batch: int, forms: dict[str, list[Tensor]], count: int, plan: Protocol
) -> dict[str, Run]:
    """Runs of floats: each form, our own dense kernel and the read stream, and every peer; answers are checked first."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, array.shape[1])).astype(array.dtype if array.itemsize > 1 else np.float32)
    exact = x.astype(np.float64) @ array.astype(np.float64).T
    runs: dict[str, Run] = {}
    if batch == 1:
        ordered, runs[OWN], y = bench.own_dense_run(array, x, count, plan.threads)
        runs[OWN](0)
        check(y[None, : array.shape[0]].astype(x.dtype), exact, f"{case.what}, {OWN}")
        runs[STREAM] = lambda k: native.module.bench_read_stream(ordered[k % count], plan.threads)
    for name, peer in peers.installed(peers.PRODUCTS).items():
        if name.endswith("_csr") and case.kind != "pruned":
            continue
        try:
            stored = [peer.encode(array) for _ in range(count)]
            products = [peer.product(one, x) for one in stored]
        except (AttributeError, TypeError):  # a dtype that the peer does not have
            continue
        if None not in products:
            runs[name] = lambda k, products=products: products[k % len(products)]()
    for label, copies in forms.items():
        out = np.empty((batch, array.shape[0]), x.dtype)
        check(tersely.linear(x, copies[0], out=out), exact, f"{case.what}, {label}")
        runs[label] = bench.coded_run(x, out, copies, plan.threads)
    return runs


def integer_runs(
    case: Case, array: np.ndarray, batch: int, forms: dict[str, list[Tensor]], count: int, plan: Protocol
) -> dict[str, Run]:
    """Runs of int8, or of 4-bit pairs, with x of floats; all must have the bits of the dense product."""
    own: dict[str, Any] = {"scale": 0.01} | ({"packed": "int4"} if case.kind == "int4" else {})
    columns = array.shape[1] * (2 if case.kind == "int4" else 1)
    x = np.random.default_rng(1).standard_normal((batch, columns), dtype=np.float32)
    every = {OWN: copies_of(tersely.encode(array, formulation="dense"), count), **forms}
    answers = [tersely.linear(x, copies[0], **own) for copies in every.values()]
    if not all(np.array_equal(answers[0], answer) for answer in answers):
        raise SystemExit(f"{case.what}: other bits than dense; nothing was timed")
    return {
        label: lambda k, c=copies: tersely.linear(x, c[k % len(c)], **own)  # type: ignore[misc]
        for label, copies in every.items()
    }


def check(found: np.ndarray, exact: np.ndarray, what: str) -> None:
    """Raises SystemExit where a product is not that of float64."""
    allowed = BOUNDS[found.dtype.name] * (np.abs(exact).max() + 1e-30)
    if not (np.abs(found.astype(np.float64) - exact).max() <= allowed):
        raise SystemExit(f"{what}: the product is wrong; nothing was timed")


def measure(case: Case, plan: Protocol, batches: tuple[int, ...], shape: tuple[int, int]) -> list[dict[str, Any]]:
    """One row for each form and number of rows of x."""
    array = case.array(shape)
    count = plan.copies(array.nbytes)
    coded = forms_of(case, array)
    forms = {label: copies_of(tensor, count) for label, tensor in coded.items()}
    runs_of = integer_runs if array.dtype.kind in "iu" else float_runs
    rows = []
    for batch in batches:
        times = protocol.measure(runs_of(case, array, batch, forms, count, plan), plan)
        ms = dict(times.median_ms)
        stream = ms.pop(STREAM, None)
        others = {name: ms[name] for name in ms if name not in forms}
        dense = min((name for name in others if not name.endswith("_csr")), key=lambda name: others[name])
        share = stream / others[OWN] if stream is not None else None
        for label, tensor in coded.items():
            rows.append(
                {
                    "what": case.what,
                    "batch": batch,
                    "stored_as": label,
                    "bits_per_weight": tensor.bits_per_weight / (2 if case.kind == "int4" else 1),
                    "ms": ms[label],
                    "least_ms": times.least_ms[label],
                    "dense": dense,
                    "dense_ms": others[dense],
                    "x_dense": others[dense] / ms[label],
                    "others_ms": others,
                    "stream_share": share,
                    "busy": times.busy,
                    "void": bool(times.busy) or (share is not None and share < VOID_BELOW),
                }
            )
            print("{what} x {batch}: {stored_as} {bits_per_weight:.2f} bits, {x_dense:.2f} x dense".format(**rows[-1]))
    return rows


def main() -> None:
    default = Protocol()
    parser = protocol.options(__doc__, default)
    parser.add_argument("--group", nargs="*", choices=cases.groups(), default=cases.groups())
    parser.add_argument("--only", help="cases whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="one row of x")
    parser.add_argument("--isa", choices=isa.available(), help="force an instruction set")
    parser.add_argument("--shape", type=int, nargs=2, default=cases.SHAPE, help="to try the program itself")
    arguments = parser.parse_args()
    plan = protocol.begin(arguments, default)
    if arguments.isa:
        isa.use(arguments.isa)
    for group in arguments.group:
        found = record.new(group, plan) | {"rows": []}
        for case in cases.cases((group,)):
            if arguments.only and arguments.only not in case.what:
                continue
            batches = case.batches[:1] if arguments.quick else case.batches
            found["rows"] += measure(case, plan, batches, tuple(arguments.shape))
        record.save(found, arguments.output)


if __name__ == "__main__":
    main()

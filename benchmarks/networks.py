"""Whole networks: pipelines on compressed weights against other engines, side by side.

    python -m benchmarks.networks [--networks resnet50 ...] [--batches 1 8] [--without torch.compile ...] [--cold]
    python -m benchmarks.networks --networks resnet50 vgg16 --pruned 80 90 95
    python -m benchmarks.networks --networks resnet50 vgg16 minilm --dtype bfloat16
    python -m benchmarks.networks --isa avx2

Shapes are those of the published networks, weights are drawn (a trained network's exponents are about as regular);
statistics of batch norm are those of random images, so that numbers stay in range. Every weight of ours is coded and
decoded at each run; `speed` keeps what decodes too slowly as it is. Answers are compared first: 5e-4 of the largest.
--dtype: networks in half precision, against the same weights in float32: one rounding of the largest answer for ours,
HALF_BOUND for engines that round after every operator, and for ours where bfloat16 products round what they multiply.
--isa avx2: all engines held to AVX2, whatever the processor has (`benchmarks.peers.held`).
--cold: from a file to the first answer and the most memory, each engine in a process of its own, in turns.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import tersely.torch
from benchmarks import cold, engines, protocol, record
from benchmarks.engines import Inputs
from benchmarks.peers import held
from benchmarks.protocol import Protocol, Took

OBJECTIVES = ("speed", "balanced")
BOUND = 5e-4
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
HALF_BOUND = 2.5e-1
PAUSE_SECONDS = 0.05
COLD_ROUNDS = 5
COLD_BOUND = 1e-2
"""Wider: engines that round more are not left out, for it is not their speed that is compared."""
IMAGE = (3, 224, 224)


class _Logits(torch.nn.Module):
    """A model of transformers that returns a tensor."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return engines.first(self.inner(*inputs, return_dict=False))


def vgg16() -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    channels = 3
    for block, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(block):
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
            channels = width
        layers.append(torch.nn.MaxPool2d(2))
    layers += [torch.nn.AdaptiveAvgPool2d(7), torch.nn.Flatten(), torch.nn.Linear(25088, 4096), torch.nn.ReLU()]
    layers += [torch.nn.Linear(4096, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 1000)]
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return torch.nn.Sequential(*layers)


def resnet(depths: list[int]) -> torch.nn.Module:
    return _Logits(transformers.ResNetForImageClassification(transformers.ResNetConfig(depths=depths, num_labels=1000)))


def mobilenet() -> torch.nn.Module:
    return _Logits(transformers.MobileNetV2ForImageClassification(transformers.MobileNetV2Config(num_labels=1000)))


def deit() -> torch.nn.Module:
    return _Logits(transformers.DeiTForImageClassification(transformers.DeiTConfig(num_labels=1000)))


def minilm() -> torch.nn.Module:
    config = transformers.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    return _Logits(transformers.BertModel(config, add_pooling_layer=False))


NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "resnet50": lambda: resnet([3, 4, 6, 3]),
    "resnet101": lambda: resnet([3, 4, 23, 3]),
    "vgg16": vgg16,
    "mobilenet_v2": mobilenet,
    "deit_b": deit,
    "minilm": minilm,
}
TOKENS = {"minilm": 32}
"""Networks that read sentences, and of how many tokens."""


def prune(model: torch.nn.Module, percent: int, mask: str) -> None:
    """Sets so many of each weight to zero, but not of the first layer, which is too small to be worth it.

    mask: "random", or "magnitude" for the smallest ones.
    """
    layers = [one for one in model.modules() if isinstance(one, torch.nn.Conv2d | torch.nn.Linear)]
    with torch.no_grad():
        for layer in layers[1:]:
            rank = torch.rand_like(layer.weight) if mask == "random" else layer.weight.abs()
            bound = rank.flatten().kthvalue(max(1, rank.numel() * percent // 100)).values
            layer.weight[rank <= bound] = 0


def prepared(
    name: str, percent: int = 0, mask: str = "random", change: Callable[[torch.nn.Module], None] | None = None
) -> torch.nn.Module:
    """A network whose numbers stay in range, in eval mode; `percent` of its weights are zeros.

    change: what else is done to its weights before numbers are brought into range.
    """
    torch.manual_seed(0)
    model = NETWORKS[name]()
    if percent:
        prune(model, percent, mask)
    if change is not None:
        change(model)
    norms = [one for one in model.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        model.train()
        with torch.no_grad():
            model(torch.randn(8, *IMAGE))
    return model.eval()


def inputs_of(name: str, batch: int) -> Inputs:
    torch.manual_seed(1)
    if name in TOKENS:
        return (torch.randint(0, 30000, (batch, TOKENS[name])),)
    return (torch.randn(batch, *IMAGE),)


def alone(run: engines.Infer, plan: Protocol) -> protocol.Run:
    """The second of two runs, which begin when workers of the engine before sleep: some spin for a while after work."""

    def timed(number: int) -> Took:
        time.sleep(PAUSE_SECONDS)
        run()
        begin = plan.clock()
        run()
        return Took(1e3 * (plan.clock() - begin))

    return timed


def row(
    name: str,
    batch: int,
    plan: Protocol,
    without: list[str],
    percent: int = 0,
    mask: str = "random",
    dtype: str = "float32",
    change: Callable[[torch.nn.Module], None] | None = None,
    dense: bool = False,
) -> dict[str, Any]:
    """One network and batch: milliseconds by engine, the largest error of each, resident bytes of weights by objective.

    change: what is done to its weights, as in `prepared`. dense: our executor on dense weights is timed, too.
    """
    half = getattr(torch, dtype)
    model = prepared(name, percent, mask, change).to(half)
    inputs = tuple(one.to(half) if one.is_floating_point() else one for one in inputs_of(name, batch))
    wide, given = engines.widened(model, inputs)
    with torch.inference_mode():
        expected = engines.first(wide(*given)).numpy()
    runs: dict[str, engines.Infer] = {}
    smaller, weight_bytes = {}, {}
    for objective in OBJECTIVES:
        pipe = tersely.torch.pipeline(model, inputs, objective=objective)
        runs[f"tersely {objective}"] = engines.torch_eager(pipe, inputs, plan.threads)
        plain, held = pipe.weight_bytes
        smaller[objective] = plain / held
        weight_bytes |= {"dense": plain, objective: held}
    if dense:
        runs["tersely dense"] = engines.torch_eager(engines.uncoded(model, inputs), inputs, plan.threads)
    left_out: dict[str, str] = {}
    for engine, make in engines.HALF_ENGINES.get(dtype, engines.ENGINES).items():
        if engine in without:
            continue
        try:
            runs[engine] = make(model, inputs, plan.threads)
        except ImportError as missing:
            left_out[engine] = f"is not installed: {missing}"
        except Exception as error:  # an engine that cannot run a network is a row of the record
            left_out[engine] = f"{type(error).__name__}: {error}"[:200]
    scale = np.abs(expected).max()
    error = {key: float(np.abs(run() - expected).max() / scale) for key, run in runs.items()}
    bounds = {key: BOUND + ROUNDING.get(dtype, 0) for key in runs}
    if dtype in ROUNDING:
        rounds = dtype == "bfloat16" and tersely.isa.active() in ("avx512_bf16", "amx")
        bounds |= {key: HALF_BOUND for key in runs if rounds or not key.startswith("tersely")}
    for key in [one for one, value in error.items() if not value < bounds[one]]:
        if key.startswith("tersely"):
            raise SystemExit(f"{name}: {key} answers otherwise than PyTorch, by {error[key]:.1e}")
        left_out[key] = f"disqualified: its answer differs by {error[key]:.1e} of the largest"
        del runs[key]
    for engine, reason in left_out.items():
        print(f"{name}: {engine} is left out: {reason}", flush=True)
    times = protocol.measure({key: alone(run, plan) for key, run in runs.items()}, plan)
    return {
        "network": name,
        "batch": batch,
        "ms": times.median_ms,
        "least_ms": times.least_ms,
        "rounds": times.rounds,
        "busy": times.busy,
        "error": error,
        "smaller": smaller,
        "weight_bytes": weight_bytes,
        "left_out": left_out,
        **({"zeros": percent, "mask": mask} if percent else {}),
        **({"dtype": dtype} if dtype != "float32" else {}),
    }


def cold_row(name: str, batch: int, plan: Protocol, without: list[str]) -> dict[str, Any]:
    """One network and batch from files: medians of processes that take turns, by engine."""
    model, inputs = prepared(name), inputs_of(name, batch)
    with torch.inference_mode():
        expected = engines.first(model(*inputs)).numpy()
    wanted = [one for one in cold.ENGINES if one not in without and find_spec(cold.ENGINES[one][0].partition(".")[0])]
    taken: dict[str, list[dict[str, float]]] = {engine: [] for engine in wanted}
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        paths = {"tersely": folder / "tersely.safetensors"}
        tersely.torch.pipeline(model, inputs).save(paths["tersely"])
        paths["ONNX Runtime"] = paths["OpenVINO"] = engines.onnx_file(model, inputs, folder)
        if "MNN" in wanted:
            paths["MNN"] = engines.mnn_file(paths["ONNX Runtime"])
        arrays = []
        for number, one in enumerate(inputs):
            arrays.append(str(folder / f"x{number}.npy"))
            np.save(arrays[-1], one.numpy())
        left_out: dict[str, str] = {}
        for turn in range(COLD_ROUNDS):
            for engine in [one for one in wanted[:: -1 if turn % 2 else 1] if one not in left_out]:
                command = [sys.executable, "-m", "benchmarks.cold", engine, str(paths[engine]), str(plan.threads)]
                ran = subprocess.run([*command, *arrays], capture_output=True, text=True)
                reason = _cold_fault(ran, paths[engine].with_suffix(".answer.npy"), expected)
                if not reason:
                    taken[engine].append(json.loads(ran.stdout.splitlines()[-1]))
                elif engine == "tersely":
                    raise SystemExit(f"{name} from a file: {engine} {reason}")
                else:
                    left_out[engine] = reason
        size = {engine: paths[engine].stat().st_size / 1e6 for engine in wanted}
    figures = {
        engine: {key: statistics.median(one[key] for one in runs) for key in runs[0]} | {"file_mb": size[engine]}
        for engine, runs in taken.items()
        if engine not in left_out
    }
    return {"network": name, "batch": batch, "cold": figures, "cold_left_out": left_out}


def _cold_fault(ran: subprocess.CompletedProcess[str], answer: Path, expected: np.ndarray) -> str:
    """Why what an engine did from a file does not count, '' where it does."""
    if ran.returncode:
        last = next((line for line in reversed(ran.stderr.splitlines()) if line.strip()), "nothing was printed")
        return f"ended with status {ran.returncode}: {last.strip()[:200]}"
    difference = float(np.abs(np.load(answer) - expected).max() / np.abs(expected).max())
    return "" if difference < COLD_BOUND else f"disqualified: its answer differs by {difference:.1e} of the largest"


def cold_line(found: dict[str, Any]) -> str:
    shown = "; ".join(
        f"{engine} {one['first_ms']:.0f} ms to the first answer, {one['next_ms']:.1f} ms after it, {one['most_mb']:.0f} MB at "
        f"most ({one['before_mb']:.0f} before)"
        for engine, one in found["cold"].items()
    )
    return f"{found['network']} batch {found['batch']}, from a file: {shown}"


def line(found: dict[str, Any]) -> str:
    """A row for people: each engine, and ours against the fastest of the others."""
    ms = found["ms"]
    others = min(value for key, value in ms.items() if not key.startswith("tersely"))
    shown = ", ".join(f"{key} {value:.1f}" for key, value in ms.items())
    ratios = ", ".join(
        f"{one} {others / ms[f'tersely {one}']:.2f} x as fast, {found['smaller'][one]:.2f} x smaller"
        for one in OBJECTIVES
    )
    busy = f" (busy: {found['busy']})" if found["busy"] else ""
    pruned = f", {found['zeros']} % zeros ({found['mask']})" if "zeros" in found else ""
    half = f" {found['dtype']}" if "dtype" in found else ""
    return f"{found['network']}{half} batch {found['batch']}{pruned}: {shown} ms; against the fastest: {ratios}{busy}"


def main() -> None:
    default = Protocol(seconds=3.0)
    parser = protocol.options(__doc__, default)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--pruned", nargs="+", type=int, default=[], metavar="PERCENT", help="zeros in each weight")
    parser.add_argument("--masks", nargs="+", choices=["random", "magnitude"], default=["random", "magnitude"])
    parser.add_argument("--dtype", choices=["float32", *engines.HALF_ENGINES], default="float32")
    parser.add_argument("--without", nargs="+", choices=list(engines.ENGINES), default=[], metavar="ENGINE")
    parser.add_argument("--dense", action="store_true", help="our executor on dense weights, too")
    parser.add_argument("--cold", action="store_true", help="from files to first answers, and memory; prints only")
    parser.add_argument("--isa", choices=["avx2"], help="hold all engines to an instruction set")
    arguments = parser.parse_args()
    if arguments.isa:
        held.again("benchmarks.networks")
        arguments.without += [one for one in engines.ENGINES if one not in held.ENGINES]
    plan = protocol.begin(arguments, default)
    if arguments.cold:
        for name in arguments.networks:
            for batch in arguments.batches:
                print(cold_line(cold_row(name, batch, plan, arguments.without)), flush=True)
        return
    found = record.new("networks", plan)
    found["rows"] = []
    for name in arguments.networks:
        for batch in arguments.batches:
            for percent, mask in (
                itertools.product(arguments.pruned, arguments.masks) if arguments.pruned else [(0, "")]
            ):
                found["rows"].append(
                    row(name, batch, plan, arguments.without, percent, mask, arguments.dtype, dense=arguments.dense)
                )
                print(line(found["rows"][-1]), flush=True)
    if arguments.isa and not held.asked():
        raise SystemExit("no engine asked what the processor is: they were not held")
    record.save(found, arguments.output)


if __name__ == "__main__":
    main()

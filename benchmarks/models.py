"""Whole models, dense against compressed: a token, a prompt, loading, memory; a Llama-shaped one with random weights.

    python -m benchmarks.models                                    # 1.1 G parameters in bfloat16: needs about 8 GB
    python -m benchmarks.models --parts load token                 # some of it
    python -m benchmarks.models --hidden 256 --layers 2 -o a.json  # to try the program itself

load      processes of their own: memory, seconds to load and to the first answer, page cache warm and dropped
token     a token after a prompt of 32 at batch 1; llama.cpp from the same weights beside, where it is installed
prompt    a prompt of 128, 512 and 2048 tokens
compile   a token at batch 1, both models compiled, the dense one with frozen weights
encoder   an encoder of MiniLM's shape in float32, one sentence of 20 tokens; --minilm FILE: with its real weights

Answers are compared first. Weights are normal with sigma 0.02, which gives exponents the entropy that trained layers have. The record is
written anew after every row: a run that is cut short loses nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch._inductor import config as inductor
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, StaticCache

import tersely
import tersely.torch
from benchmarks import peers, protocol, record
from benchmarks.protocol import Protocol, Run, Took
from tersely.transformers import measure, models

HIDDEN, LAYERS = 2048, 22
CHOICES = ("balanced", "size", "balanced identical")
"""An objective, and the mode where it is not "fused"."""
PROMPTS = (128, 512, 2048)
PROMPT, SENTENCE = 32, 20
BOUND = 5e-2
"""Most difference of logits, as a share of the largest one: bfloat16 activations, rounded at other places."""
PARTS = ("encoder", "load", "token", "prompt", "compile")

_PROCESS = """
import json, sys, time
from pathlib import Path
import torch
from tersely.transformers import measure, models
torch.set_num_threads(int(sys.argv[2]))
start = time.perf_counter()
model = models.open_model(Path(sys.argv[1]), **json.loads(sys.argv[3]))
loaded = time.perf_counter() - start
with torch.inference_mode():
    measure.answer(model, torch.randint(0, 256, (1, 32), generator=torch.Generator().manual_seed(3)))
first = time.perf_counter() - start
rollup = dict(line.split(":", 1) for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
kilobytes = lambda text: int(text.split()[0]) * 1024
print(json.dumps({"pss": kilobytes(rollup["Pss"]), "anonymous": kilobytes(rollup["Anonymous"]),
                  "peak_resident": kilobytes(status["VmHWM"]), "load_seconds": loaded, "first_answer_seconds": first}))
"""


def shape_of(hidden: int, layers: int) -> dict[str, int]:
    """The model's config: at 2048 and 22, that of a common model of 1.1 G parameters."""
    heads = max(4, hidden // 64)
    return {
        "hidden_size": hidden,
        "intermediate_size": hidden * 11 // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 8),
        "vocab_size": 32000 if hidden >= 1024 else 512,
    }


def ids_of(model: Any, length: int) -> torch.Tensor:
    """Random tokens, the same for every model of this vocabulary: [1, length], int64."""
    count = int(model.get_input_embeddings().weight.shape[0])
    return torch.randint(0, count, (1, length), generator=torch.Generator().manual_seed(3))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def make_folder(shape: dict[str, int], folder: Path) -> None:
    """The dense model, as transformers saves it."""
    torch.manual_seed(0)
    config = LlamaConfig(**shape, max_position_embeddings=4096, tie_word_embeddings=False, initializer_range=0.02)
    config.dtype = torch.bfloat16
    with default_dtype(torch.bfloat16):
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)


def drop_from_page_cache(folder: Path) -> None:
    """The next reader of the folder's weights reads the disk. Pages that a process has mapped stay."""
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def process(folder: Path, threads: int, cold: bool, loads: int, **wanted: Any) -> dict[str, Any]:
    """In processes of their own: proportional, anonymous and peak resident bytes after loading and one pass over 32
    tokens, and the seconds that both took; medians of `loads` processes.

    cold: the files are dropped from the page cache before each.
    """
    command = [sys.executable, "-c", _PROCESS, str(folder), str(threads), json.dumps(wanted)]
    found = []
    for number in range(loads + (not cold)):
        if cold:
            drop_from_page_cache(folder)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if cold or number:  # the first of the warm ones warms
            found.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: sorted(row[key] for row in found)[len(found) // 2] for key in found[0]}


def open_choice(work: Path, choice: str) -> Any:
    """The model of an objective, in its mode."""
    name, _, mode = choice.partition(" ")
    return models.open_model(work / name, **({"mode": mode} if mode else {}))


def load_rows(work: Path, choices: list[str], threads: int, loads: int) -> Iterator[dict[str, Any]]:
    """Dense, then each choice; warm and cold."""
    for choice in ("dense", *choices):
        name, _, mode = choice.partition(" ")
        folder = work / name
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        for cache in ("warm", "cold"):
            row = {"choice": choice, "page_cache": cache, "file_bytes": size}
            yield row | process(folder, threads, cache == "cold", loads, **({"mode": mode} if mode else {}))


def token_step(model: Any) -> Run:
    """A token after the ones before, over a cache that grows; the ids are the same for every model."""
    cache = measure.empty_cache(model)
    ids = ids_of(model, 512)
    model(input_ids=ids[:, :PROMPT], use_cache=True, **cache)
    at = iter(range(PROMPT, ids.shape[1]))

    def step(_: int) -> Any:
        number = next(at)
        return model(input_ids=ids[:, number : number + 1], use_cache=True, logits_to_keep=1, **cache).logits

    return step


def peer_step(peer: Any, stored: Any, model: Any, threads: int) -> Run:
    """As `token_step`, in the peer's process. Raises SystemExit where its logits are not torch's."""
    step = peer.product(stored, threads)
    ids = ids_of(model, 512)[0].tolist()
    logits = torch.from_numpy(step(ids[:PROMPT])[1])
    difference = measure.difference(measure.answer(model, torch.tensor([ids[:PROMPT]])).float()[0, -1], logits)
    if not difference <= BOUND:
        raise SystemExit(f"llama.cpp differs from torch by {difference:.2g} of the largest logit: not timed")
    at = iter(ids[PROMPT:])
    return lambda k: Took(step([next(at)])[0])


@torch.inference_mode()
def token_row(work: Path, choices: list[str], plan: Protocol, tokens: int) -> dict[str, Any]:
    """A token of every choice, of torch's dense model and of llama.cpp, taking turns."""
    plan = replace(plan, minimum_rounds=tokens, maximum_rounds=tokens, tries=1)
    every = {"dense": models.open_model(work / "dense"), **{choice: open_choice(work, choice) for choice in choices}}
    prompt = ids_of(every["dense"], PROMPT)
    expected = measure.answer(every["dense"], prompt)
    error = {key: measure.difference(expected, measure.answer(model, prompt)) for key, model in every.items()}
    check(error)
    runs = {key: token_step(model) for key, model in every.items()}
    for name, peer in peers.installed(("llama_cpp",)).items():
        runs[name] = peer_step(peer, peer.encode(work / "dense"), every["dense"], plan.threads)  # type: ignore[arg-type]
    times = protocol.measure(runs, plan)
    return row_of("token", times, error) | {
        "bytes": {key: models.weight_bytes(model)[0] for key, model in every.items()}
    }


@torch.inference_mode()
def prompt_rows(work: Path, choices: list[str], plan: Protocol, lengths: list[int]) -> Iterator[dict[str, Any]]:
    """Prompts of each length, all models taking turns."""
    every = {"dense": models.open_model(work / "dense"), **{choice: open_choice(work, choice) for choice in choices}}
    for length in lengths:
        ids = ids_of(every["dense"], length)
        runs = {key: lambda k, model=model, ids=ids: measure.answer(model, ids) for key, model in every.items()}  # type: ignore[misc]
        yield row_of(f"prompt of {length} tokens", protocol.measure(runs, replace(plan, seconds=0, minimum_rounds=7)))


def compiled_step(model: Any, freezing: bool) -> Callable[[], Any]:
    """The forward pass of the token after a prompt of 32, compiled, over a cache of fixed size; compiled when it returns."""
    cache = StaticCache(config=model.config, max_cache_len=64)
    ids = ids_of(model, 33)
    model(input_ids=ids[:, :32], past_key_values=cache, use_cache=True)
    forward = torch.compile(model.forward)

    def step() -> Any:
        for layer in cache.layers:  # the same place again
            layer.cumulative_length.fill_(32)
        return forward(input_ids=ids[:, 32:], past_key_values=cache, use_cache=True).logits

    with inductor.patch(freezing=freezing):
        step()
    return step


@torch.no_grad()
def compiled_rows(work: Path, choices: list[str], plan: Protocol) -> Iterator[dict[str, Any]]:
    """Each objective against the dense model, both compiled."""
    dense = compiled_step(models.open_model(work / "dense"), freezing=True)
    for objective in [choice for choice in choices if " " not in choice]:
        torch._dynamo.reset()  # the code that is compiled stays; a new model is not an old one that changed
        coded = compiled_step(open_choice(work, objective), freezing=False)
        error = {objective: measure.difference(dense(), coded())}
        check(error)
        times = protocol.measure({"dense": lambda k: dense(), objective: lambda k, c=coded: c()}, plan)  # type: ignore[misc]
        yield row_of("token, torch.compile", times, error)


@torch.inference_mode()
def encoder_row(weights: Path | None, plan: Protocol) -> dict[str, Any]:
    """A sentence through an encoder of MiniLM's shape, dense and by each objective. weights: its real ones."""
    config = BertConfig(hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12)
    torch.manual_seed(0)
    dense = BertModel(config, add_pooling_layer=False).eval()
    if weights is not None:
        dense.load_state_dict(load_file(weights), strict=False)
    ids = ids_of(dense, SENTENCE)
    every, memory = {"dense": dense}, {}
    for objective in ("balanced", "size"):
        every[objective] = BertModel(config, add_pooling_layer=False).eval()
        every[objective].load_state_dict(dense.state_dict())
        summary = tersely.torch.compress_(every[objective], objective=objective, progress=False)
        memory[objective] = 1 / summary.ratio
    expected = dense(input_ids=ids)[0]
    error = {key: measure.difference(expected, model(input_ids=ids)[0]) for key, model in every.items()}
    check(error, 1e-3)
    runs = {key: lambda k, model=model: model(input_ids=ids)[0] for key, model in every.items()}  # type: ignore[misc]
    found = row_of("sentence encoder", protocol.measure(runs, plan), error)
    return found | {"weights": "real" if weights else "random", "memory": memory}


def check(error: dict[str, float], bound: float = BOUND) -> None:
    """Raises SystemExit where answers differ by more than another order of sums explains."""
    for name, difference in error.items():
        if not difference <= bound:
            raise SystemExit(f"{name}: answers differ by {difference:.2g} of the largest; nothing was timed")


def row_of(what: str, times: protocol.Times, error: dict[str, float] | None = None) -> dict[str, Any]:
    """A row of a record; printed."""
    dense = times.median_ms["dense"]
    found = {
        "what": what,
        "ms": times.median_ms,
        "x_dense": {key: dense / ms for key, ms in times.median_ms.items()},
        "rounds": times.rounds,
        "busy": times.busy,
        "error": error or {},
    }
    print(what, ", ".join(f"{key} {ms:.1f} ms" for key, ms in times.median_ms.items()), times.busy, flush=True)
    return found


def main() -> None:
    default = Protocol(seconds=4)
    parser = protocol.options(__doc__, default)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--hidden", type=int, default=HIDDEN, help="width of the model")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--tokens", type=int, default=64, help="decoded one by one after a prompt of 32")
    parser.add_argument("--prompts", type=int, nargs="*", default=PROMPTS)
    parser.add_argument("--loads", type=int, default=3, help="processes of each kind that load the model; medians")
    parser.add_argument("--choices", nargs="*", default=CHOICES, help="objectives, each with ' identical' or without")
    parser.add_argument("--minilm", type=Path, help="a safetensors file with the encoder's real weights")
    parser.add_argument("--work", type=Path, help="where folders are made; default: a temporary folder")
    arguments = parser.parse_args()
    plan, choices, parts = protocol.begin(arguments, default), list(arguments.choices), set(arguments.parts)
    shape = shape_of(arguments.hidden, arguments.layers)
    found = record.new("models", plan) | {"model": {**shape, "dtype": "bfloat16", "weights": "normal"}, "rows": []}

    def add(rows: Iterator[dict[str, Any]], key: str = "rows") -> None:
        for row in rows:
            found.setdefault(key, []).append(row)
            record.save(found, arguments.output)

    if "encoder" in parts:
        add(iter([encoder_row(arguments.minilm, plan)]))
    if parts - {"encoder"}:
        with tempfile.TemporaryDirectory(dir=arguments.work) as name:
            work = Path(name)
            make_folder(shape, work / "dense")
            for objective in sorted({choice.partition(" ")[0] for choice in choices}):
                tersely.compress(work / "dense", work / objective, objective=objective, profile="native")
            if "load" in parts:  # first, while nothing keeps the files in memory
                add(load_rows(work, choices, plan.threads, arguments.loads), "load")
            if "token" in parts:
                add(iter([token_row(work, choices, plan, arguments.tokens)]))
            if "prompt" in parts:
                add(prompt_rows(work, choices, plan, list(arguments.prompts)))
            if "compile" in parts:
                add(compiled_rows(work, choices, plan))


if __name__ == "__main__":
    main()

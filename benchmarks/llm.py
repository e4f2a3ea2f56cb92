"""A Llama-shaped model with random weights, dense against compressed: decoding, prefill, loading, memory; one record.

    python -m benchmarks.llm                                    # 1.1 G parameters in bfloat16: needs about 8 GB
    python -m benchmarks.llm --parts load times                 # some of it
    python -m benchmarks.llm --hidden 256 --layers 2 -o a.json  # to try the script itself

load      processes of their own: memory, seconds to load and to the first answer, page cache warm and dropped
times     a token at batch 1 and prefill, dense and compressed models taking turns; medians; answers are compared first
compile   a token at batch 1, both models compiled, the dense one with frozen weights
encoder   an encoder of MiniLM's shape in float32, one sentence of 20 words

Weights are normal with sigma 0.02, which gives exponents the entropy that trained layers have. The record is written anew
after every row: a run that is cut short loses nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch._inductor import config as inductor
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, StaticCache

import tersely
import tersely.torch
from benchmarks.common import fingerprint, record_path
from tersely.transformers import measure, models

HIDDEN, LAYERS = 2048, 22
CHOICES = ("balanced", "size", "balanced identical")
"""An objective, and the mode where it is not "fused"."""
PREFILL = (128, 512, 2048)
SENTENCE = 20

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
    measure.answer(model, measure.random_tokens(model, 32))
first = time.perf_counter() - start
rollup = dict(line.split(":", 1) for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
kilobytes = lambda text: int(text.split()[0]) * 1024
print(json.dumps({"pss": kilobytes(rollup["Pss"]), "anonymous": kilobytes(rollup["Anonymous"]),
                  "peak_resident": kilobytes(status["VmHWM"]), "load_seconds": loaded, "first_answer_seconds": first}))
"""


class Record:
    """What was measured so far, in one file."""

    def __init__(self, path: Path | None, facts: dict[str, Any]) -> None:
        self.content: dict[str, Any] = {"machine": {**fingerprint(), "transformers": transformers.__version__}, **facts}
        self.path = path or record_path(self.content, "llm")

    def add(self, part: str, row: dict[str, Any]) -> None:
        """Append a row and write everything."""
        self.content.setdefault(part, []).append(row)
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text(json.dumps(self.content, indent=1) + "\n")
        partial.replace(self.path)


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
    words, and the seconds that both took; medians of `loads` processes.

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


def load_rows(work: Path, choices: list[str], threads: int, loads: int) -> Iterator[dict[str, Any]]:
    """Dense, then each choice; warm and cold."""
    for choice in ("dense", *choices):
        name, _, mode = choice.partition(" ")
        wanted = {"mode": mode} if mode else {}
        folder = work / name
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        for cache in ("warm", "cold"):
            row = {"choice": choice, "page_cache": cache, "file_bytes": size}
            row |= process(folder, threads, cache == "cold", loads, **wanted)
            print(
                f"{choice}, {cache}: loaded in {row['load_seconds']:.2f} s, first answer after "
                f"{row['first_answer_seconds']:.2f} s, {row['pss'] / 1e6:.0f} MB, of them anonymous "
                f"{row['anonymous'] / 1e6:.0f} MB",
                flush=True,
            )
            yield row


def times_rows(work: Path, dense: Any, choices: list[str], tokens: int, prefill: list[int]) -> Iterator[dict[str, Any]]:
    """Each choice, compressed for this machine's class, against the dense model."""
    for choice in choices:
        objective, _, mode = choice.partition(" ")
        coded = models.open_model(work / objective, **({"mode": mode} if mode else {}))
        row = {"choice": choice, **measure.bench_models(choice, dense, coded, tokens, prefill).to_json()}
        print(f"{choice}: weights {row['memory']:.3f} of dense, largest difference of answers {row['error']:.1e}")
        for found in row["rows"]:
            print_times(found)
        yield row


def print_times(found: dict[str, Any]) -> None:
    print(
        f"  {found['what']:<24} dense {found['dense_ms']:9.2f} ms   compressed {found['coded_ms']:9.2f} ms   "
        f"{found['x_dense']:.3f} x dense",
        flush=True,
    )


def against(what: str, dense: Callable[[], Any], coded: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """One row of a function of both, after their answers have been compared."""
    expected, found = dense(), coded()
    times = measure.interleaved({"dense": dense, "coded": coded}, rounds)
    row = {**measure.row(what, times).to_json(), "error": measure.difference(expected, found)}
    print_times(row)
    return row


def compiled_step(model: Any, freezing: bool) -> Callable[[], Any]:
    """The forward pass of the word after a prompt of 32, compiled, over a cache of fixed size; compiled when it returns."""
    cache = StaticCache(config=model.config, max_cache_len=64)
    words = measure.random_tokens(model, 33)
    model(input_ids=words[:, :32], past_key_values=cache, use_cache=True)
    forward = torch.compile(model.forward)

    def step() -> Any:
        for layer in cache.layers:  # the same place again
            layer.cumulative_length.fill_(32)
        return forward(input_ids=words[:, 32:], past_key_values=cache, use_cache=True).logits

    with inductor.patch(freezing=freezing):
        step()
    return step


@torch.no_grad()
def compiled_rows(work: Path, dense: Any, choices: list[str]) -> Iterator[dict[str, Any]]:
    """Each objective against the dense model, both compiled."""
    dense_step = compiled_step(dense, freezing=True)
    for objective in [choice for choice in choices if " " not in choice]:
        torch._dynamo.reset()  # the code that is compiled stays; a new model is not an old one that changed
        coded_step = compiled_step(models.open_model(work / objective), freezing=False)
        yield {"choice": objective, **against(f"compiled token, {objective}", dense_step, coded_step, 30)}


@torch.inference_mode()
def encoder_rows(weights: Path | None) -> Iterator[dict[str, Any]]:
    """A sentence through an encoder of MiniLM's shape, for each objective. weights: its real ones."""
    config = BertConfig(hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12)
    torch.manual_seed(0)
    dense = BertModel(config, add_pooling_layer=False).eval()
    if weights is not None:
        dense.load_state_dict(load_file(weights), strict=False)
    ids = measure.random_tokens(dense, SENTENCE)
    for objective in ("balanced", "size"):
        coded = BertModel(config, add_pooling_layer=False).eval()
        coded.load_state_dict(dense.state_dict())
        summary = tersely.torch.compress_(coded, objective=objective, progress=False)
        row = against(
            f"encoder, {objective}",
            lambda: dense(input_ids=ids)[0],
            lambda coded=coded: coded(input_ids=ids)[0],
            60,
        )
        yield {**row, "weights": "real" if weights else "random", "memory": 1 / summary.ratio}


PARTS = ("load", "times", "compile", "encoder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=HIDDEN, help="width of the model")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--tokens", type=int, default=64, help="decoded one by one after a prompt of 32")
    parser.add_argument("--prefill", type=int, nargs="*", default=PREFILL)
    parser.add_argument("--loads", type=int, default=3, help="processes of each kind that load the model; medians")
    parser.add_argument("--choices", nargs="*", default=CHOICES, help="objectives, each with ' identical' or without")
    parser.add_argument("--minilm", type=Path, help="a safetensors file with the encoder's real weights")
    parser.add_argument("--work", type=Path, help="where folders are made; default: a temporary folder")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = shape_of(arguments.hidden, arguments.layers)
    model = {**shape, "dtype": "bfloat16", "weights": "normal, sigma 0.02"}
    record = Record(arguments.output, {"threads": arguments.threads, "model": model})
    choices = list(arguments.choices)
    if "encoder" in arguments.parts:
        for row in encoder_rows(arguments.minilm):
            record.add("encoder", row)
    if set(arguments.parts) - {"encoder"}:
        with tempfile.TemporaryDirectory(dir=arguments.work) as name:
            work = Path(name)
            make_folder(shape, work / "dense")
            for objective in sorted({choice.partition(" ")[0] for choice in choices}):
                tersely.compress(work / "dense", work / objective, objective=objective, profile="native")
            if "load" in arguments.parts:  # first, while nothing keeps the files in memory
                for row in load_rows(work, choices, arguments.threads, arguments.loads):
                    record.add("load", row)
            if {"times", "compile"} & set(arguments.parts):
                dense = models.open_model(work / "dense")
                model["parameters"] = sum(parameter.numel() for parameter in dense.parameters())
            if "times" in arguments.parts:
                for row in times_rows(work, dense, choices, arguments.tokens, list(arguments.prefill)):
                    record.add("rows", row)
            if "compile" in arguments.parts:
                for row in compiled_rows(work, dense, choices):
                    record.add("compile", row)
    print(f"record: {record.path}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""A Llama-shaped model with random weights, dense against compressed: decoding, prefill, memory; one record.

    python -m benchmarks.llm                    # 1.1 G parameters in bfloat16: needs about 8 GB
    python -m benchmarks.llm --small -o /tmp/a.json

Weights are normal with sigma 0.02, which gives exponents the entropy that trained layers have. The dense model and the
compressed ones take turns, token by token and prompt by prompt; medians; answers are compared first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

import laconic
from benchmarks.run import fingerprint, record_path
from laconic.transformers import measure, models

FULL = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
}
SMALL = {
    **FULL,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "vocab_size": 512,
}
CHOICES = ("balanced", "size", "balanced identical")
"""An objective, and the mode where it is not "fused"."""
PREFILL = (128, 512, 2048)

_PROCESS = """
import json, sys, time
from pathlib import Path
import torch
from laconic.transformers import measure, models
torch.set_num_threads(int(sys.argv[2]))
start = time.perf_counter()
model = models.open_model(Path(sys.argv[1]), **json.loads(sys.argv[3]))
loaded = time.perf_counter() - start
with torch.inference_mode():
    measure.answer(model, measure.words(model, 32))
first = time.perf_counter() - start
rollup = dict(line.split(":", 1) for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
kilobytes = lambda text: int(text.split()[0]) * 1024
print(json.dumps({"pss": kilobytes(rollup["Pss"]), "anonymous": kilobytes(rollup["Anonymous"]),
                  "peak_resident": kilobytes(status["VmHWM"]), "load_seconds": loaded, "first_answer_seconds": first}))
"""


def make_folder(shape: dict[str, int], folder: Path) -> None:
    """The dense model, as transformers saves it."""
    torch.manual_seed(0)
    config = LlamaConfig(**shape, max_position_embeddings=4096, tie_word_embeddings=False, initializer_range=0.02)
    config.dtype = torch.bfloat16
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)


def process(folder: Path, threads: int, **wanted: Any) -> dict[str, Any]:
    """In a process of its own with a warm page cache: proportional, anonymous and peak resident bytes after loading and
    one pass over 32 words, and the seconds that both took."""
    command = [sys.executable, "-c", _PROCESS, str(folder), str(threads), json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def one(dense: Any, work: Path, choice: str, tokens: int, prefill: Sequence[int], threads: int) -> dict[str, Any]:
    """The row of one choice: a folder compressed for this machine's class against the dense model."""
    objective, _, mode = choice.partition(" ")
    wanted = {"mode": mode} if mode else {}
    coded = models.open_model(work / objective, **wanted)
    row = {"choice": choice, **measure.bench_models(choice, dense, coded, tokens, prefill).to_json()}
    del coded
    row["process"] = process(work / objective, threads, **wanted)
    row["file_bytes"] = sum(path.stat().st_size for path in (work / objective).glob("*.safetensors"))
    print_row(row)
    return row


def print_row(row: dict[str, Any]) -> None:
    print(f"{row['choice']}: weights {row['memory']:.3f} of dense, largest difference of answers {row['error']:.1e}")
    for found in row["rows"]:
        print(
            f"  {found['what']:<14} dense {found['dense_ms']:9.2f} ms   compressed {found['coded_ms']:9.2f} ms   "
            f"{found['x_dense']:.3f} x dense",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64, help="decoded one by one after a prompt of 32")
    parser.add_argument("--prefill", type=int, nargs="*", default=PREFILL)
    parser.add_argument("--choices", nargs="*", default=CHOICES, help="objectives, each with ' identical' or without")
    parser.add_argument("--small", action="store_true", help="a model of 2 layers, to try the script itself")
    parser.add_argument("--work", type=Path, help="where folders are made; default: a temporary folder")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = SMALL if arguments.small else FULL
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        folder = Path(work) / "dense"
        make_folder(shape, folder)
        for objective in sorted({choice.partition(" ")[0] for choice in arguments.choices}):
            laconic.compress(folder, Path(work) / objective, objective=objective, profile="native")
        dense = models.open_model(folder)
        parameters = sum(parameter.numel() for parameter in dense.parameters())
        print(f"{parameters / 1e9:.3f} G parameters in bfloat16, {arguments.threads} threads", flush=True)
        rows = [
            one(dense, Path(work), choice, arguments.tokens, arguments.prefill, arguments.threads)
            for choice in arguments.choices
        ]
        del dense
        dense_process = process(folder, arguments.threads)
    record = {
        "machine": {**fingerprint(), "transformers": transformers.__version__},
        "threads": arguments.threads,
        "model": {**shape, "dtype": "bfloat16", "parameters": parameters, "weights": "normal, sigma 0.02"},
        "dense_process": dense_process,
        "rows": rows,
    }
    path = arguments.output or record_path(record, "llm")
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"record: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""A token of the Llama-shaped model of `benchmarks.llm` beside llama.cpp, from the same weights in bfloat16.

    pip install llama-cpp-python gguf            # built here, so that it uses what the machine has
    python -m benchmarks.llama_cpp               # 1.1 G parameters: needs about 8 GB of memory and of disk

llama.cpp runs in a process of its own, which sleeps while the others have their turn: one token each, round by round,
after a prompt of 32; medians. Its logits are compared with those of torch before anything is timed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PROMPT = 32
SETTLE = 0.02
"""Seconds before each turn, in which the threads of the one before stop looking for work."""
BOUND = 5e-2
"""Most difference of logits, as a share of the largest one: bfloat16 activations, rounded at other places."""


def write_gguf(folder: Path, path: Path) -> None:
    """The model of a folder in llama.cpp's format: the same words, q and k in its order of rotated pairs, no vocabulary."""
    import gguf
    import ml_dtypes
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_tokenizer_model("none")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for part in sorted(folder.glob("*.safetensors")):
        for name, words in load_file(part).items():
            stem = name.removesuffix(".weight")
            if stem.endswith(("q_proj", "k_proj")):
                count = heads if stem.endswith("q_proj") else kv_heads
                halves = words.reshape(count, 2, -1, words.shape[1])
                words = halves.swapaxes(1, 2).reshape(words.shape)
            target = f"{names.get_name(stem)}.weight"
            if words.ndim == 1:
                writer.add_tensor(target, words.astype(np.float32))
            else:
                assert words.dtype == ml_dtypes.bfloat16
                raw = np.ascontiguousarray(words).view(np.uint8)
                writer.add_tensor(target, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path: str, threads: int) -> None:
    """The process of llama.cpp: a line of ids comes in; a line with the ms that they took and a file of logits go out."""
    import llama_cpp as cpp

    cpp.llama_backend_init()
    model = cpp.llama_model_load_from_file(path.encode(), cpp.llama_model_default_params())
    parameters = cpp.llama_context_default_params()
    parameters.n_ctx, parameters.n_threads, parameters.n_threads_batch = 512, threads, threads
    context = cpp.llama_init_from_model(model, parameters)
    size = cpp.llama_vocab_n_tokens(cpp.llama_model_get_vocab(model))
    print("ready", flush=True)
    for line in sys.stdin:
        ids = json.loads(line)
        words = (cpp.llama_token * len(ids))(*ids)
        start = time.perf_counter()
        failed = cpp.llama_decode(context, cpp.llama_batch_get_one(words, len(ids)))
        logits = np.ctypeslib.as_array(
            ctypes.cast(cpp.llama_get_logits_ith(context, -1), ctypes.POINTER(ctypes.c_float)), (size,)
        )
        taken = (time.perf_counter() - start) * 1e3
        print(json.dumps({"failed": failed, "ms": taken, "logits": logits.tolist()}), flush=True)


class Other:
    """llama.cpp in its process."""

    def __init__(self, path: Path, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.llama_cpp", "--serve", str(path), "--threads", str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._line()

    def step(self, ids: list[int]) -> tuple[float, np.ndarray]:
        """(ms, logits of the last word) after ids."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(ids) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self._line())
        if answer["failed"]:
            raise SystemExit(f"llama.cpp failed: {answer['failed']}")
        return answer["ms"], np.asarray(answer["logits"], np.float32)

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("llama.cpp's process ended; run it by hand: python -m benchmarks.llama_cpp --serve FILE")
        return line


def compare(work: Path, objectives: list[str], tokens: int, threads: int) -> dict[str, Any]:
    """Median ms of a token: torch on dense weights, tersely by objective, llama.cpp; and the largest difference of logits."""
    import torch

    from tersely.transformers import measure, models

    every = {"torch": models.open_model(work / "dense")}
    every |= {f"tersely {name}": models.open_model(work / name) for name in objectives}
    other = Other(work / "model.gguf", threads)
    caches = {key: measure.empty_cache(model) for key, model in every.items()}
    times: dict[str, list[float]] = {key: [] for key in (*every, "llama.cpp")}
    errors: dict[str, float] = dict.fromkeys(times, 0.0)
    ids = measure.random_tokens(every["torch"], PROMPT)
    with torch.inference_mode():
        for number in range(tokens + 1):
            taken, found = {}, {}
            for key in list(times)[:: -1 if number % 2 else 1]:
                time.sleep(SETTLE)
                if key == "llama.cpp":
                    taken[key], found[key] = other.step(ids[0].tolist())
                    continue
                start = time.perf_counter()
                logits = every[key](input_ids=ids, use_cache=True, logits_to_keep=1, **caches[key]).logits
                taken[key] = (time.perf_counter() - start) * 1e3
                found[key] = logits[0, -1].float().numpy()
            top = np.abs(found["torch"]).max()
            for key in times:
                errors[key] = max(errors[key], float(np.abs(found[key] - found["torch"]).max() / top))
                if not errors[key] <= BOUND:
                    raise SystemExit(f"{key} differs from torch by {errors[key]:.2g} of the largest logit: not timed")
                if number:  # the first is the prompt
                    times[key].append(taken[key])
            ids = torch.tensor([[int(found["torch"].argmax())]])
    other.process.terminate()
    median = {key: statistics.median(times[key]) for key in times}
    return {"rounds": tokens, "token_ms": median, "error": errors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=2048, help="width of the model")
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--objectives", nargs="*", default=["balanced"])
    parser.add_argument("--work", type=Path, help="where folders are made; default: a temporary folder")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.threads)

    import torch

    import tersely
    from benchmarks.common import fingerprint, save
    from benchmarks.llm import make_folder, shape_of

    torch.set_num_threads(arguments.threads)
    shape = shape_of(arguments.hidden, arguments.layers)
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        work = Path(name)
        make_folder(shape, work / "dense")
        write_gguf(work / "dense", work / "model.gguf")
        for objective in arguments.objectives:
            tersely.compress(work / "dense", work / objective, objective=objective, profile="native")
        row = compare(work, arguments.objectives, arguments.tokens, arguments.threads)
    for key, ms in row["token_ms"].items():
        print(f"{key:<20} {ms:8.2f} ms a token   {row['token_ms']['llama.cpp'] / ms:.2f} x llama.cpp")
    machine = {**fingerprint(), "llama-cpp-python": metadata.version("llama-cpp-python")}
    save(
        {"machine": machine, "threads": arguments.threads, "model": {**shape, "dtype": "bfloat16"}, **row},
        "llama-cpp",
        arguments.output,
    )


if __name__ == "__main__":
    main()

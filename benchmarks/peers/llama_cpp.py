"""llama.cpp, a whole model at a time, from the same bfloat16 words; it runs in a process of its own.

The "array" is a folder of a Llama-shaped model, as transformers saves it; it is stored as a GGUF file with q and k in llama.cpp's
order of rotated pairs, and without a vocabulary. The "x" of a product is the number of threads, and what comes back is a
function from ids of tokens to (ms, logits of the last one). `pip install llama-cpp-python gguf` builds it for the machine.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from benchmarks.peers import Stored

Step = Callable[[list[int]], tuple[float, np.ndarray]]


def version() -> str:
    import gguf  # noqa: F401
    import llama_cpp  # noqa: F401

    return importlib.metadata.version("llama-cpp-python")


def encode(folder: Path) -> Stored:
    """Write FOLDER.gguf beside the folder."""
    import gguf
    from safetensors.numpy import load_file

    path = folder.with_suffix(".gguf")
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
    return Stored(path, path.stat().st_size, (), np.dtype(ml_dtypes.bfloat16))


def decode(stored: Stored) -> Any:
    """The bytes of the file's tensors, one after the other."""
    import gguf

    return b"".join(bytes(tensor.data) for tensor in gguf.GGUFReader(stored.data).tensors)


def product(stored: Stored, threads: int) -> Step:
    """Start llama.cpp in a process of its own, which sleeps while others have their turn."""
    command = [sys.executable, "-m", "benchmarks.peers.llama_cpp", str(stored.data), str(threads)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    given, answers = process.stdin, process.stdout

    def line() -> str:
        found = answers.readline()
        if not found:
            raise SystemExit(f"llama.cpp's process ended; run it by hand: {' '.join(command)}")
        return found

    def step(ids: list[int]) -> tuple[float, np.ndarray]:
        given.write(json.dumps(ids) + "\n")
        given.flush()
        answer = json.loads(line())
        if answer["failed"]:
            raise SystemExit(f"llama.cpp failed: {answer['failed']}")
        return answer["ms"], np.asarray(answer["logits"], np.float32)

    line()
    return step


def serve(path: str, threads: int) -> None:
    """The process of llama.cpp: a line of ids comes in; a line with the ms that they took and the logits goes out."""
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
        tokens = (cpp.llama_token * len(ids))(*ids)
        start = time.perf_counter()
        failed = cpp.llama_decode(context, cpp.llama_batch_get_one(tokens, len(ids)))
        logits = np.ctypeslib.as_array(
            ctypes.cast(cpp.llama_get_logits_ith(context, -1), ctypes.POINTER(ctypes.c_float)), (size,)
        )
        taken = (time.perf_counter() - start) * 1e3
        print(json.dumps({"failed": failed, "ms": taken, "logits": logits.tolist()}), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))

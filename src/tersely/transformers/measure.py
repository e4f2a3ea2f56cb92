"""Dense against compressed, whole models: time per token at batch 1 and prefill, interleaved, medians, answers first."""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from tersely.backends.cpu.busy import Watch
from tersely.core.choices import Objective
from tersely.core.errors import TerselyError, VerificationError
from tersely.transformers import models

BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""The largest difference of answers, as a share of the largest one, that another order of summing up explains."""


@dataclass(frozen=True)
class Comparison:
    """One thing that was measured; times in milliseconds. x_dense: dense time / compressed time."""

    what: str
    dense_ms: float
    coded_ms: float
    rounds: int

    @property
    def x_dense(self) -> float:
        return self.dense_ms / self.coded_ms

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "x_dense": self.x_dense}


@dataclass(frozen=True)
class Report:
    """Memory and times of one model.

    error: largest difference of answers / largest answer. same_tokens: of `tokens`. coded_weights: those of the `weights`
    that are compressed, the others are dense in both. busy: what made threads wait meanwhile (`tersely.backends.cpu.busy`), '' for
    nothing: if not, the times are void.
    """

    model: str
    dense_bytes: int
    coded_bytes: int
    error: float
    same_tokens: int
    tokens: int
    threads: int
    rows: tuple[Comparison, ...]
    coded_weights: int = 0
    weights: int = 0
    busy: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "memory": self.coded_bytes / self.dense_bytes, "rows": [r.to_json() for r in self.rows]}


def bench_folder(
    folder: Path,
    tokens: int = 32,
    prefill: Sequence[int] = (128,),
    objective: Objective | None = None,
    *,
    threads: int | None = None,
    trust_remote_code: bool = False,
) -> Report:
    """Measures the model of a folder, dense or compressed, against itself in the other form.

    Args:
        tokens: decoded one by one after a prompt of 32. prefill: lengths of prompts. objective: for dense folders.
        threads: workers; None for torch's own number.
        trust_remote_code: whether code that lies in the folder may run; nobody is asked.

    Raises TerselyError for models that do not take tokens, before they are loaded, VerificationError where answers differ
    too much.
    """
    models.set_threads(threads)
    models.check_tokens(folder, trust_remote_code)
    dense = models.open_dense(folder, trust_remote_code)
    coded = models.open_coded(folder, trust_remote_code, **({"objective": objective} if objective else {}))
    return bench_models(str(folder), dense, coded, tokens, prefill)


@torch.inference_mode()
def bench_models(name: str, dense: Any, coded: Any, tokens: int = 32, prefill: Sequence[int] = (128,)) -> Report:
    """Measures two loaded models as `bench_folder` does."""
    if dense.main_input_name != "input_ids":
        raise TerselyError(
            f"{name}: {type(dense).__name__} takes {dense.main_input_name}; only models that take tokens are timed"
        )
    both = {"dense": dense, "coded": coded}
    prompt = random_tokens(dense, 32)
    error = difference(answer(dense, prompt), answer(coded, prompt))
    if not error <= BOUNDS.get(dense.dtype, 1e-3):
        raise VerificationError(
            f"{name}: answers on compressed weights differ from dense ones by {error:.2g} of the largest; nothing was "
            "timed, please report this"
        )
    rows: list[Comparison] = []
    watch = Watch()
    same = 0
    decodes = dense.can_generate() and not dense.config.is_encoder_decoder
    if decodes:
        times, said = decode(both, prompt, tokens)
        same = sum(a == b for a, b in zip(said["dense"], said["coded"], strict=True))
        rows.append(row("token", times))
    for length in prefill:
        ids = random_tokens(dense, length)
        runs = {key: lambda model=model, ids=ids: answer(model, ids) for key, model in both.items()}
        rows.append(row(f"prefill {length}" if decodes else f"{length} tokens", interleaved(runs)))
    busy = watch.troubles(torch.get_num_threads())
    stored = {key: models.weight_bytes(model)[0] for key, model in both.items()}
    return Report(
        name,
        stored["dense"],
        stored["coded"],
        error,
        same,
        tokens if decodes else 0,
        torch.get_num_threads(),
        tuple(rows),
        *models.coded_weights(coded),
        busy,
    )


def random_tokens(model: Any, length: int) -> Tensor:
    """Returns random token ids, the same for every model of this vocabulary."""
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    return torch.randint(0, vocabulary, (1, length), generator=torch.Generator().manual_seed(3))


def answer(model: Any, ids: Tensor) -> Tensor:
    """Logits of the last word, or what else the model gives first."""
    given = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = ids[:, :1]
    elif model.can_generate():  # as generation does it
        given |= {"use_cache": True, **_last_only(model)}
    out: Tensor = model(**given)[0]
    return out


def difference(expected: Tensor, found: Tensor) -> float:
    """Returns the largest difference as a share of the largest expected value."""
    scale = float(expected.float().abs().max()) or 1.0
    return float((expected.float() - found.float()).abs().max()) / scale


def decode(both: Mapping[str, Any], prompt: Tensor, tokens: int) -> tuple[dict[str, list[float]], dict[str, list[int]]]:
    """Decodes greedily with caches, models taking turns token by token; returns times in ms, and the tokens.

    All models are fed the first one's tokens, so that they do the same work.
    """
    times: dict[str, list[float]] = {key: [] for key in both}
    said: dict[str, list[int]] = {key: [] for key in both}
    caches = {key: empty_cache(model) for key, model in both.items()}
    ids = prompt
    for number in range(tokens + 1):
        following = None
        for key, model in _turn(both, number):
            start = time.perf_counter()
            out = model(input_ids=ids, use_cache=True, **_last_only(model), **caches[key])
            token = out.logits[:, -1:].argmax(-1)
            if number:  # the first pass is the prompt
                times[key].append((time.perf_counter() - start) * 1e3)
                said[key].append(int(token))
            if key == next(iter(both)):
                following = token
        assert following is not None
        ids = following
    return times, said


def empty_cache(model: Any) -> dict[str, Any]:
    """Returns an empty cache of keys and values, under the name that this transformers gives the argument."""
    known = inspect.signature(type(model).forward).parameters
    return {"cache" if "cache" in known else "past_key_values": transformers.DynamicCache(config=model.config)}


def _last_only(model: Any) -> dict[str, int]:
    """Asks for the logits of the last word alone, as generation does, where the model can be asked."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(type(model).forward).parameters else {}


def interleaved(runs: Mapping[str, Callable[[], Any]], rounds: int = 7) -> dict[str, list[float]]:
    """Returns the times in ms of each run, taking turns; one unmeasured round first."""
    times: dict[str, list[float]] = {key: [] for key in runs}
    for number in range(rounds + 1):
        for key, run in _turn(runs, number):
            start = time.perf_counter()
            run()
            if number:
                times[key].append((time.perf_counter() - start) * 1e3)
    return times


def _turn(things: Mapping[str, Any], number: int) -> list[tuple[str, Any]]:
    """Another order in every other round."""
    return list(things.items())[:: -1 if number % 2 else 1]


def row(what: str, times: Mapping[str, list[float]]) -> Comparison:
    """Returns the medians of the times of 'dense' and 'coded'."""
    dense, coded = (statistics.median(times[key]) for key in ("dense", "coded"))
    return Comparison(what, dense, coded, len(times["dense"]))

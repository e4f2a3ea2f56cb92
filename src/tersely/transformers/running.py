"""`tersely run`: text from a prompt, and how fast it came."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.generation.streamers import BaseStreamer

from tersely.backends.cpu.busy import Watch
from tersely.core.choices import Mode
from tersely.core.errors import ArgumentError, TerselyError
from tersely.transformers import models


@dataclass(frozen=True)
class Run:
    """What a generation gave. seconds_to_first: load excluded, prompt included. tokens_per_second: of those after it.

    busy: what made threads wait meanwhile (`tersely.backends.cpu.busy`), '' for nothing: if not, the times are void.
    """

    model: str
    text: str
    tokens: int
    prompt_tokens: int
    load_seconds: float
    seconds_to_first: float
    tokens_per_second: float | None
    weight_bytes: int
    dense_bytes: int
    mode: str
    threads: int
    busy: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.dense_bytes / self.weight_bytes}


def generate(
    folder: Path,
    prompt: str,
    tokens: int,
    mode: Mode | None = None,
    *,
    threads: int | None = None,
    tell: Callable[[str], None] | None = None,
    trust_remote_code: bool = False,
) -> Run:
    """Continues a prompt greedily by the model of a folder, dense or compressed.

    Args:
        tokens: at most so many new ones. mode: 'fused' or 'identical' for compressed folders; None for what the folder says.
        threads: workers; None for torch's own number. tell: called with pieces of text as they come.
        trust_remote_code: whether code that lies in the folder may run; nobody is asked.

    Raises TerselyError for folders without a tokenizer or whose model does not generate, before anything is loaded.
    """
    if tokens < 1:
        raise ArgumentError(f"the number of tokens must be at least 1, not {tokens}")
    models.set_threads(threads)
    models.check_tokens(folder, trust_remote_code, generates=True)
    tokenizer = _tokenizer(folder, trust_remote_code)
    start = time.perf_counter()
    compressed = models.is_compressed(folder)
    model = models.open_model(folder, trust_remote_code, **({"mode": mode} if mode and compressed else {}))
    load_seconds = time.perf_counter() - start
    if not model.can_generate():
        raise TerselyError(f"{folder}: {type(model).__name__} does not generate text")
    given = tokenizer(prompt, return_tensors="pt")
    if given["input_ids"].numel() == 0:
        raise ArgumentError("the prompt is empty: give at least one word")
    clock = _Clock(tokenizer, tell)
    wanted = {key: given[key] for key in ("input_ids", "attention_mask") if key in given}
    watch = Watch()
    clock.start = time.perf_counter()
    with torch.inference_mode():
        ids = model.generate(**wanted, max_new_tokens=tokens, do_sample=False, streamer=clock)[0]
    busy = watch.troubles(torch.get_num_threads())
    prompt_tokens = int(given["input_ids"].shape[1])
    fresh = ids if model.config.is_encoder_decoder else ids[prompt_tokens:]
    stored, dense = models.weight_bytes(model)
    rate = (len(clock.times) - 1) / (clock.times[-1] - clock.times[0]) if len(clock.times) > 1 else None
    return Run(
        str(folder),
        tokenizer.decode(fresh, skip_special_tokens=True),
        len(clock.times),
        prompt_tokens,
        load_seconds,
        clock.times[0] - clock.start,
        rate,
        stored,
        dense,
        (mode or "fused") if compressed else "dense",
        torch.get_num_threads(),
        busy,
    )


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError, AttributeError) as error:  # transformers 4 looks for other packages
        raise TerselyError(f"{folder} has no tokenizer: put the files of its tokenizer there ({error})") from None


class _Clock(BaseStreamer):
    """Notes when each token came, and tells the text so far that can no longer change."""

    def __init__(self, tokenizer: Any, tell: Callable[[str], None] | None) -> None:
        self.times: list[float] = []
        self.start = 0.0
        self._tokenizer, self._tell = tokenizer, tell
        self._ids: list[int] = []
        self._told = 0
        self._prompt = True

    def put(self, value: Any) -> None:
        if self._prompt:  # the first call brings the prompt
            self._prompt = False
            return
        self.times.append(time.perf_counter())
        if self._tell is not None:
            self._ids += value.tolist()
            self._say(last=False)

    def end(self) -> None:
        if self._tell is not None:
            self._say(last=True)

    def _say(self, last: bool) -> None:
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        if last or not text.endswith("\ufffd"):  # half a character so far
            assert self._tell is not None
            self._tell(text[self._told :])
            self._told = len(text)

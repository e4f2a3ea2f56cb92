"""State of modules that is no tensor, as `get_extra_state` gives it: kept as JSON in a file's metadata, or refused by name.

Kept is what JSON gives back unchanged. A pickle would keep more, and run what a file says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch.nn.modules.module import _EXTRA_STATE_KEY_SUFFIX

from tersely.core.errors import ArgumentError, CorruptError

NOTE = "tersely_extra_state"


def is_name(name: str) -> bool:
    """Returns whether a name of a state dict is that of a module's extra state."""
    return name.rpartition(".")[2] == _EXTRA_STATE_KEY_SUFFIX


def note(state: Mapping[str, Any]) -> dict[str, str]:
    """Returns the entry of metadata that keeps values by name. Raises ArgumentError for one that JSON changes."""
    for name, value in state.items():
        if not _is_plain(value):
            raise ArgumentError(why_not(name, value))
    return {NOTE: json.dumps(dict(state))} if state else {}


def taken(metadata: Mapping[str, str], path: str) -> dict[str, Any]:
    """Returns what `note` has kept. Raises CorruptError."""
    text = metadata.get(NOTE)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CorruptError(f"the metadata entry {NOTE!r} is damaged", file=path)
    return found


def why_not(name: str, value: Any) -> str:
    """Returns what to say of a value that no file keeps."""
    remedy = (
        "give it as a tensor, or as numbers, strings, lists and dictionaries, from get_extra_state; torch.save keeps it"
        if is_name(name)
        else "these files hold tensors: take it out, or use torch.save"
    )
    return f"{name!r} is a {type(value).__name__}, which these files do not hold: {remedy}"


def _is_plain(value: Any) -> bool:
    """Returns whether JSON gives a value back with its types."""
    if isinstance(value, list) and type(value) is list:
        return all(map(_is_plain, value))
    if isinstance(value, dict) and type(value) is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    if type(value) is str:
        return value.isascii() or _is_text(value)
    return value is None or type(value) in (bool, int, float)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

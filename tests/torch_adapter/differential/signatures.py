"""Arguments that fit most names. Each is tried on the dense twin; what it refuses is no call of the list."""

from __future__ import annotations

from differential.calls import Call
from differential.namespaces import is_attribute

METHOD = (
    *("", "o", "w", "2", "0.5", "0", "-1", "0, 1", "1, 0", "[0]", "o, o", "0, i", "i", "k", "k, 0.5", "k, o", "v", "r"),
    *("o.mT", "torch.float64", "'cpu'", "0, 1, 2", "0, 1, 1", "0, i, 2.0", "2, 0", "w.shape", "0, j", "0, j, o"),
    *("o[:2]", "0, i, o[:2]", "o[0]", "o[0], 0", "o.flatten()", "-1, 24", "1, 0.5", "2, 0, 0.1"),
)
"""After `w.name(`."""
FUNCTION = (
    *("w", "w, o", "o, w", "w, w", "w, 2", "w, 0", "w, 0.5", "w, 0, 1", "[w, w]", "[w, o]", "[o, w]", "w, [0]", "w, k"),
    *("x, w", "w, x", "w, v", "w, r", "w, o.mT", "o.mT, w", "w, o, o", "o, w, w", "w, 0, i", "i, w", "w, i", "k, w, o"),
    *("w, w.shape", "w, torch.float64", "w, 1, 1", "w, 0, 1, 2", "w, 0, j", "o, out=w", "o, o, out=w", "w, out=o"),
    *("w, (1, 1)", "x[None], w[None]", "w[None], 2", "x, w, r"),
)
"""After `name(`."""


def calls(name: str, text: str) -> list[Call]:
    """Every way to call a name that may fit it."""
    if not text:
        return []
    if is_attribute(name):
        return [Call(name, text, tried=True)]
    if not name.startswith("Tensor."):
        return [Call(name, f"{text}({arguments})", tried=True) for arguments in FUNCTION]
    last = name.partition(".")[2]
    found = [Call(name, f"w.{last}({arguments})", tried=True) for arguments in METHOD]
    found += [Call(name, f"o.{last}({arguments})", tried=True) for arguments in ("w", "w, w", "k, w", "0, w", "v, w")]
    return found

"""What sections of the page share."""

from __future__ import annotations


def short(reason: str) -> str:
    """Why something is not there, in a word for a table's cell; "" for no reason."""
    if reason.startswith(("is not installed", "disqualified", "crashed", "took")):
        return reason.split(":")[0].replace("is not installed", "missing")
    return "failed" if reason else ""


def called(coder: str) -> str:
    """A coder for people."""
    return coder.replace("zstd_long", "zstd -22").replace("pcodec_best", "pcodec").replace("_", " ")

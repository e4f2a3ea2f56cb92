"""Locks and threads of a process that forks: a child has the memory of its parent, but none of its other threads.

A lock that another thread held is never released in the child, and work that was given to a thread is never done.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Renewed(Protocol):
    """What has locks or threads."""

    def renew(self) -> None:
        """Have new locks, and no threads. Whatever another thread was amid may be half done."""


_known: WeakSet[Renewed] = WeakSet()


def renew_in_children(one: Renewed) -> None:
    """Have something renewed in every process that is forked from now on."""
    _known.add(one)


def _in_child() -> None:
    for one in list(_known):
        one.renew()


os.register_at_fork(after_in_child=_in_child)

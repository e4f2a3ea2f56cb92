"""One call of the list, as data that goes to a child and comes back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """name: in the libraries' namespaces. expression: over the names of `subjects`. poke: what is done to the first
    tensor of the result that lies in the weight's memory. tried: dropped where the dense twin refuses it. kind: of the
    weight that it was tried on."""

    name: str
    expression: str
    poke: str = ""
    tried: bool = False
    kind: str = "float32"

    @property
    def of_adapters(self) -> bool:
        """Whether it needs peft and accelerate, which take seconds to import."""
        return self.name.startswith(("peft", "accelerate"))

    @property
    def text(self) -> str:
        if not self.poke:
            return self.expression
        return f"result = {self.expression}; {self.poke}"


@dataclass(frozen=True)
class Run:
    """A call on a dense weight and on its compressed twin. kind: of the weight. side: the twin's numeric mode."""

    call: Call
    kind: str
    side: str
    context: str

    @property
    def seed(self) -> int:
        """The same for every side, another for every call, so that stale memory never has the right values."""
        import zlib

        return zlib.crc32(f"{self.call.text}/{self.kind}".encode())


@dataclass(frozen=True)
class Difference:
    """A call after which the twins differ, and how."""

    run: Run
    what: str

"""What can go wrong, as one small tree of exceptions.

    TerselyError
    |-- ArgumentError (also ValueError)     a wrong argument: shape, dtype, parameter, thread count
    |   `-- OutOfRangeError (also IndexError)      an index that a tensor does not have
    |-- FormatError                         bytes that are not what the format says
    |   |-- CorruptError                    a damaged or hostile file: names tensor, component and byte
    |   |-- UnsupportedError                a version, formulation, dtype or parameter this release cannot read
    |   |-- TooLargeError (also MemoryError)  a tensor, or a run of a network, that takes more memory than there is
    |   `-- VerificationError               decoded weights differ from what they must be
    `-- DestinationError                    the output exists, is the source, or cannot be written

Every message says where (file, tensor, component, byte, as far as they exist) and what to do about it.
"""

from __future__ import annotations


class TerselyError(Exception):
    """Base of every error that tersely raises on purpose."""


class ArgumentError(TerselyError, ValueError):
    """An argument that cannot be used as given.

    Messages have arguments between backquotes, `force=True`, which the command line shows as its flags.
    """


class OutOfRangeError(ArgumentError, IndexError):
    """An index that a tensor does not have."""


class FormatError(TerselyError):
    """Bytes that do not follow the safetensors or the tersely format.

    Attributes:
        byte: of the component, counted from its own first one.
        file_byte: of the file, counted from its first one.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        tensor: str | None = None,
        component: str | None = None,
        byte: int | None = None,
        file_byte: int | None = None,
    ) -> None:
        self.message = message
        self.file = file
        self.tensor = tensor
        self.component = component
        self.byte = byte
        self.file_byte = file_byte
        super().__init__(message)

    def __str__(self) -> str:
        where = []
        if self.file is not None:
            where.append(f"file {self.file}")
        if self.tensor is not None:
            where.append(f"tensor {self.tensor!r}")
        if self.component is not None:
            where.append(("" if self.byte is None else f"byte {self.byte} of ") + f"component {self.component!r}")
        if self.file_byte is not None:
            where.append(f"byte {self.file_byte} of the file")
        return f"{', '.join(where)}: {self.message}" if where else self.message

    def located(self, *, file: str | None = None, tensor: str | None = None) -> FormatError:
        """Fill in the file and tensor that the raiser did not know; returns self, to be re-raised."""
        self.file = self.file or file
        self.tensor = self.tensor or tensor
        return self


class CorruptError(FormatError):
    """A file that is damaged, cut short, or made to deceive."""


class UnsupportedError(FormatError):
    """A well-formed file that needs another release of tersely."""


class TooLargeError(FormatError, MemoryError):
    """A tensor whose weights take more memory than there is: a few bytes of code may stand for any number of them.

    Or a network whose inputs are so large that memory does not hold what is between its nodes.
    """


class DestinationError(TerselyError):
    """The output cannot be written where it was asked for."""


class VerificationError(FormatError):
    """Decoded weights are not bit for bit what they must be."""

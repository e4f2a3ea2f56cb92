"""One TensorProto: its type, its shape, and where its elements lie.

    message TensorProto { dims = 1, data_type = 2, segment = 3, float_data = 4, int32_data = 5, string_data = 6,
      int64_data = 7, name = 8, raw_data = 9, double_data = 10, uint64_data = 11, external_data = 13, data_location = 14 }

Elements are little-endian in `raw_data` and in external files, likewise in `float_data` and `double_data` where these
are packed; in the other fields they are varints. Types of less than a byte have no name in safetensors: they are bytes
here, and a shape whose last dimension is even keeps its form, counted in bytes.
See: onnx.proto, "TensorProto".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tersely.core.errors import CorruptError
from tersely.files.container import limits
from tersely.files.container.header import tensor_bytes
from tersely.files.foreign.onnx.wire import BYTES, VARINT, Message

FLOATS, INT32S, INT64S, RAW, DOUBLES, UINT64S = 4, 5, 7, 9, 10, 11
_TYPED = (FLOATS, INT32S, INT64S, DOUBLES, UINT64S)
TYPES = {
    1: ("F32", FLOATS),
    2: ("U8", INT32S),
    3: ("I8", INT32S),
    4: ("U16", INT32S),
    5: ("I16", INT32S),
    6: ("I32", INT32S),
    7: ("I64", INT64S),
    9: ("BOOL", INT32S),
    10: ("F16", INT32S),
    11: ("F64", DOUBLES),
    12: ("U32", UINT64S),
    13: ("U64", UINT64S),
    14: ("C64", FLOATS),
    16: ("BF16", INT32S),
    17: ("F8_E4M3", INT32S),
    18: ("F8_E4M3FNUZ", INT32S),
    19: ("F8_E5M2", INT32S),
    20: ("F8_E5M2FNUZ", INT32S),
    24: ("F8_E8M0", INT32S),
}
"""data_type: safetensors' name of it, and the field that holds its elements where `raw_data` does not."""
BELOW_A_BYTE = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}
"""data_type: bits of an element. uint4, int4, float4e2m1, uint2, int2."""
NAMES = {8: "strings", 15: "complex128"}


@dataclass
class TensorProto:
    """What a message says. spans: ranges of each field that holds elements; a field may come in several pieces."""

    begin: int
    end: int
    name: str = ""
    data_type: int = 0
    dims: list[int] = field(default_factory=list)
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    unpacked: bool = False
    segmented: bool = False
    external: bool = False
    entries: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Location:
    """Where a tensor's elements lie. reason_refused: why they cannot be taken out ('' where they can)."""

    tag: str = "U8"
    shape: tuple[int, ...] = ()
    begin: int = 0
    end: int = 0
    form: str = "raw"
    reason_refused: str = ""


def read(message: Message) -> TensorProto:
    """Raises CorruptError with the byte."""
    found = TensorProto(message.begin, message.end)
    for one in message.fields():
        if one.number == 1:
            found.dims += message.integers(one)
            if len(found.dims) > limits.DIMENSIONS:
                raise CorruptError(f"more than {limits.DIMENSIONS} dimensions", file=message.file, file_byte=one.begin)
        elif one.number == 2 and one.wire == VARINT:
            found.data_type = one.value
        elif one.number == 3:
            found.segmented = True
        elif one.number == 8:
            found.name = message.text(one)
        elif one.number == RAW or one.number in _TYPED:
            found.unpacked |= one.wire != BYTES
            found.spans.setdefault(one.number, []).append((one.begin, one.end))
        elif one.number == 13 and one.wire == BYTES:
            pair = {item.number: message.text(item) for item in message.inside(one).fields() if item.number in (1, 2)}
            found.entries[pair.get(1, "")] = pair.get(2, "")
        elif one.number == 14 and one.wire == VARINT:
            found.external = one.value == 1
    if negative := [length for length in found.dims if length < 0]:
        raise CorruptError(
            f"a dimension of {negative[0]}", file=message.file, tensor=found.name, file_byte=message.begin
        )
    return found


def element_bytes(found: TensorProto) -> tuple[str, tuple[int, ...], int] | None:
    """(tag, shape, bytes) as it will be stored; None for types that cannot be."""
    shape = tuple(found.dims)
    bits = BELOW_A_BYTE.get(found.data_type)
    if bits is None:
        if found.data_type not in TYPES:
            return None
        tag = TYPES[found.data_type][0]
        return tag, shape, tensor_bytes(tag, shape)
    count = 1
    for length in shape:
        count *= length
    size = -(-count * bits // 8)
    if shape and shape[-1] * bits % 8 == 0:
        return "U8", (*shape[:-1], shape[-1] * bits // 8), size
    return "U8", (size,), size


def type_name(data_type: int) -> str:
    return NAMES.get(data_type, f"data type {data_type}")


def location_inside(found: TensorProto, file: str) -> Location:
    """Where the elements lie in the model's own file. Raises CorruptError where lengths contradict the shape."""
    stored = element_bytes(found)
    if stored is None:
        return Location(reason_refused=type_name(found.data_type))
    tag, shape, size = stored
    if found.segmented or found.unpacked or any(len(spans) > 1 for spans in found.spans.values()):
        return Location(reason_refused="elements in several pieces")
    if RAW in found.spans:
        number, form = RAW, "raw"
    else:
        number = TYPES[found.data_type][1] if found.data_type in TYPES else INT32S
        form = "raw" if number in (FLOATS, DOUBLES) else "varint"
    begin, end = found.spans.get(number, [(found.end, found.end)])[0]
    if form == "raw" and end - begin != size:
        raise CorruptError(
            f"{end - begin} bytes of elements where shape {found.dims} needs {size}",
            file=file,
            tensor=found.name,
            file_byte=begin,
        )
    return Location(tag, shape, begin, end, form)

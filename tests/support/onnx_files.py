"""ONNX models byte by byte, written without a line of tersely and without the package `onnx`: onnx.proto's field numbers."""

from __future__ import annotations

import ml_dtypes
import numpy as np

TYPES = {
    "float32": (1, 4),
    "uint8": (2, 5),
    "int8": (3, 5),
    "uint16": (4, 5),
    "int16": (5, 5),
    "int32": (6, 5),
    "int64": (7, 7),
    "bool": (9, 5),
    "float16": (10, 5),
    "float64": (11, 10),
    "uint32": (12, 11),
    "uint64": (13, 11),
    "complex64": (14, 4),
    "bfloat16": (16, 5),
    "float8_e4m3fn": (17, 5),
    "float8_e5m2": (19, 5),
}
"""dtype: ONNX's number of it, and the field of TensorProto that holds its elements one by one."""
UINT4, INT4 = 21, 22


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def blob(field: int, payload: bytes | str) -> bytes:
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def typed(array: np.ndarray) -> bytes:
    """The elements in the field that their type has for them, packed."""
    name = array.dtype.name
    field = TYPES[name][1]
    if field in (4, 10):
        return blob(field, array.tobytes())
    words = array if array.dtype.kind in "iu" else array.view(f"u{array.itemsize}")
    return blob(field, b"".join(varint(int(value)) for value in words.reshape(-1)))


def raw(array: np.ndarray) -> bytes:
    return blob(9, array.tobytes())


def external(location: str, offset: int | str | None = None, length: int | str | None = None) -> bytes:
    entries = {"location": location, "offset": offset, "length": length}
    pairs = [blob(1, key) + blob(2, str(value)) for key, value in entries.items() if value is not None]
    return b"".join(blob(13, pair) for pair in pairs) + number(14, 1)


def tensor(name: str, dims: tuple[int, ...], data_type: int, elements: bytes) -> bytes:
    return b"".join(number(1, n) for n in dims) + number(2, data_type) + blob(8, name) + elements


def array_tensor(name: str, array: np.ndarray, form: str = "raw") -> bytes:
    elements = raw(array) if form == "raw" else typed(array)
    return tensor(name, array.shape, TYPES[array.dtype.name][0], elements)


def attribute(name: str, *fields: bytes) -> bytes:
    return blob(1, name) + b"".join(fields)


def node(operator: str, inputs: tuple[str, ...], outputs: tuple[str, ...], *attributes: bytes) -> bytes:
    names = b"".join(blob(1, one) for one in inputs) + b"".join(blob(2, one) for one in outputs)
    return names + blob(4, operator) + b"".join(blob(5, one) for one in attributes)


def graph(nodes: list[bytes] = [], initializers: list[bytes] = [], sparse: list[bytes] = []) -> bytes:  # noqa: B006
    return (
        b"".join(blob(1, one) for one in nodes)
        + blob(2, "g")
        + b"".join(blob(5, one) for one in initializers)
        + b"".join(blob(15, one) for one in sparse)
    )


def model(graph_bytes: bytes, *more: bytes) -> bytes:
    return number(1, 10) + blob(2, "tests") + blob(7, graph_bytes) + b"".join(more) + blob(8, number(2, 21))


def weights(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Drawn as networks have them; integers as quantisers leave them."""
    rng = np.random.default_rng(seed)
    scalar = np.dtype(getattr(ml_dtypes, dtype, dtype))
    values = rng.standard_normal(shape)
    return (
        (values * 20 if scalar.kind in "iu" else values * 0.05)
        .astype(np.int64 if scalar.kind in "iu" else np.float64)
        .astype(scalar)
    )


def everything() -> tuple[bytes, dict[str, np.ndarray]]:
    """A model with every way that elements can lie inside it, and the arrays that must be found."""
    found = {
        "linear.weight": weights((96, 64), "float32", 1),
        "half": weights((64, 48), "float16", 2),
        "brain": weights((48, 64), "bfloat16", 3),
        "typed.float": weights((20, 32), "float32", 4),
        "typed.half": weights((16, 16), "float16", 5),
        "typed.brain": weights((16, 16), "bfloat16", 6),
        "typed.int8": weights((40, 16), "int8", 7),
        "typed.double": weights((9,), "float64", 9),
        "raw.int8": weights((64, 64), "int8", 8),
        "raw.uint8": weights((64, 64), "uint8", 10),
        "typed.int32": np.array([0, 1, -1, 127, 128, -(2**31), 2**31 - 1], np.int32),
        "typed.int64": np.array([0, -(2**63), 2**63 - 1, 300, 5, 6], np.int64),
        "typed.uint32": np.array([0, 2**32 - 1, 128], np.uint32),
        "typed.uint64": np.array([0, 2**64 - 1, 128], np.uint64),
        "typed.bool": np.array([True, False, True]),
        "typed.complex": np.array([1 + 2j, -0.5j], np.complex64),
        "scalar": np.array(0.125, np.float32),
        "none": np.zeros((0, 4), np.float32),
    }
    initializers = [array_tensor(name, a, name.split(".")[0]) for name, a in found.items() if name != "none"]
    initializers.append(tensor("none", (0, 4), 1, b""))
    nibbles = np.random.default_rng(11).integers(0, 256, 48, np.uint8)
    initializers += [
        tensor("four", (8, 12), INT4, blob(9, nibbles.tobytes())),
        tensor("four.odd", (5, 3), UINT4, blob(5, b"".join(varint(int(v)) for v in nibbles[:8]))),
        tensor("words", (2,), 8, blob(6, "hello") + blob(6, "world")),
        tensor("unpacked", (2,), 7, number(7, 5) + number(7, 6)),
        tensor("longhand", (1,), 7, blob(7, b"\x85\x00")),
    ]
    found |= {"four": nibbles.reshape(8, 6), "four.odd": nibbles[:8]}
    constant, inner, listed = (
        weights((8, 16), "float32", 12),
        weights((8, 8), "float32", 13),
        weights((4, 9), "int8", 14),
    )
    branch = graph([node("Relu", ("x",), ("y",))], [array_tensor("linear.weight", inner)])
    values, places = weights((32,), "float32", 15), np.arange(32, dtype=np.int64)
    nodes = [
        node("Constant", (), ("c",), attribute("value", blob(5, array_tensor("", constant)))),
        node("Constant", (), ("shape",), attribute("value", blob(5, array_tensor("", np.array([1, 64]))))),
        node("If", ("b",), ("i",), attribute("then_branch", blob(6, branch))),
        node("Custom", ("x",), ("z",), attribute("tables", blob(10, array_tensor("", listed)))),
        node("MatMul", ("x", "half"), ("m",)),
    ]
    function = blob(25, blob(7, node("Constant", (), ("f",), attribute("value", blob(5, array_tensor("", inner))))))
    found |= {"c": constant, "linear.weight#2": inner, "z.tables": listed, "f": inner}
    found |= {"sparse": values, "sparse.indices": places}
    # The branch comes before the graph's own initialisers, so it has the plain name.
    found["linear.weight"], found["linear.weight#2"] = inner, found["linear.weight"]
    sparse = blob(1, array_tensor("sparse", values)) + blob(2, array_tensor("", places)) + number(3, 100)
    return model(graph(nodes, initializers, [sparse]), function), found


def small() -> bytes:
    """Few bytes, so that each can be damaged: a matrix of a product, and integers one by one."""
    tensors = [
        array_tensor("w", weights((4, 5), "float32", 1)),
        array_tensor("q", weights((6,), "int8", 2), "typed"),
    ]
    return model(graph([node("MatMul", ("x", "w"), ("y",))], tensors))

"""Which forms of `integer` are worth considering, and the form that a caller asks for."""

from __future__ import annotations

from typing import Any

from tersely.codes.checks import is_integer
from tersely.codes.layouts import Groups
from tersely.codes.node import INDEX, prefixed
from tersely.codes.protocol import Candidate, Request, ValueCandidate, Values, is_kernel
from tersely.codes.words.integer import codec, distances, nibbles
from tersely.codes.words.integer.costs import Kernel, kernel_of, padded_weights_of
from tersely.codes.words.integer.layout import BYTES, DISTANCES, MAX_BITS, NAME, NIBBLE_BITS, NIBBLES, VERSION
from tersely.codes.words.split import codec as split
from tersely.codes.words.split.candidates import check_code, check_constant
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError
from tersely.core.geometry import Geometry, choose, folded

# MEASURED with AVX2 on Zen 3, one thread: an escape takes 4.5 ns of a float product; a chunk of 64 weights with 7 bits
# takes 1.1 ns and 8 bytes more than with 6. So an escape is worth as much as four chunks' eight bytes.
FAST_ESCAPE_BYTES = 32.0
# MEASURED with AVX2 on Zen 3, two threads, float x and int8 x against dense int8: 6.04 bits 1.04 and 1.08, 7.03 bits
# 0.83 and 0.93; in zen-3_avx2_integers.json 1.00 and 1.07, 0.94 and 1.07. With AVX-512,
# zen-4_avx512_bf16_integers.json: 1.21 and 1.22, 1.09 and 1.10; zen-5_avx512_bf16_integers.json: 1.08 and 1.21, 1.00
# and 1.18.
MAX_BITS_PER_WEIGHT = {"avx512": 7.25, "amx": 7.25}
"""Above it coded 8-bit weights multiply no faster than dense ones, by (resolved) profile."""
MAX_BITS_ELSEWHERE = 6.5
ALLOWED_SHARE = 256
"""The share of the bytes of dense pairs that groups, directory and slack of 4-bit fields may cost under speed and
balanced."""
VALUE_KERNEL = Kernel(DISTANCES)
"""Decoding values is part of decoding a sparse tensor of integers: `sparse` has the figure."""
CODES = ("fields", "distances", "nibbles", "nibble_fields")


def fast(nbytes: int, weights: int, profile: str) -> bool:
    """Whether so many bytes for 8-bit weights are few enough to pay for taking fields apart."""
    return nbytes * 8 <= MAX_BITS_PER_WEIGHT.get(profile, MAX_BITS_ELSEWHERE) * max(1, weights)


def reason_not_offered(dtype: str, objective: str, profile: str) -> str:
    if dtype in BYTES or objective == "size":
        return ""
    return f"{dtype} has no product of its own; objective 'size' codes it"


def candidates(request: Request) -> list[Candidate]:
    words = request.words
    if words.size == 0:
        return []
    natural, small = request.geometry(), request.objective == "size"
    views = [natural]
    if natural.view != "folded" and (small or natural.view == "convolution"):
        views.append(folded(words.shape))
    found = []
    if request.dtype in BYTES:
        found = [_fields(request, geometry) for geometry in views]
        found = [one for one in found if small or fast(one.nbytes, words.size, request.profile)]
    if small or is_kernel(request.dtype, words.shape, natural.view):  # networks decode once for all pixels
        found += [one for geometry in (views if small else [natural]) for one in _distances(request, geometry)]
    if small:
        found += _nibbles(request)
    return found + _nibble_fields(request)


def candidate_for(request: Request) -> Candidate:
    """`integer` with the caller's code: fields with bits for all groups or the cheapest each, distances, nibbles."""
    parameters = dict(request.parameters)
    pairs = request.int4_columns is not None
    code = parameters.pop("code", "" if pairs else "fields" if request.dtype in BYTES else "distances")
    if not code and request.objective != "size" and _pairs_seen(request)[0].view == "matrix":
        code = "nibble_fields"  # what products of the values multiply as it is
    fields = code in ("fields", "nibble_fields")
    bits = parameters.pop("bits", None) if fields else None
    smallest = parameters.pop("smallest", False) if fields else False
    signed = parameters.pop("signed", None) if code == "nibble_fields" else None
    bit_layout = parameters.pop("bit_layout", None) if code == "distances" else None
    if parameters:
        which = f" with code {code!r}" if code else ""
        raise ArgumentError(f"formulation 'integer'{which} takes no parameter {next(iter(parameters))!r}")
    if not isinstance(smallest, bool):
        raise ArgumentError(f"smallest is True or False, not {smallest!r}")
    limit = NIBBLE_BITS if code == "nibble_fields" else MAX_BITS
    if bits is not None and (not is_integer(bits) or not 0 <= bits <= limit):
        raise ArgumentError(f"bits of 'integer' are 0 to {limit}, not {bits!r}")
    if signed is not None and not isinstance(signed, bool):
        raise ArgumentError(f"signed is True or False, not {signed!r}")
    if code not in ("", *CODES):
        raise ArgumentError(f"unknown code {code!r}: use {', '.join(map(repr, CODES))}")
    if code == "fields" and request.dtype not in BYTES:
        raise ArgumentError(f"fields are of {' and '.join(BYTES)}, not of {request.dtype}: use code='distances'")
    if code in ("nibbles", "nibble_fields") and not pairs:
        raise ArgumentError(f"code {code!r} needs int4_columns: how many 4-bit values a row of the tensor holds")
    if bit_layout is not None and bit_layout not in distances.layouts_of(request.dtype):
        raise ArgumentError(
            f"bit_layout is one of {', '.join(distances.layouts_of(request.dtype))}, not {bit_layout!r}"
        )
    found: list[Candidate] = []
    geometry = request.geometry()
    if code in ("", "fields"):
        found.append(_fields(request, geometry, bits, smallest))
    if code in ("", "distances"):
        found += _distances(request, geometry, bit_layout)
    if code in ("", "nibbles"):
        found += _nibbles(request)
    if code in ("", "nibble_fields"):
        found += _nibble_fields(request, bits, smallest, signed)
    if not found:
        raise ArgumentError(f"like {bit_layout!r} needs weights of at most 256 neighbouring values")
    return min(found, key=lambda one: one.nbytes)


def _fields(request: Request, geometry: Geometry, bits: int | None = None, smallest: bool = False) -> Candidate:
    """smallest: as under objective `size`, whatever the request's: an escape costs its bytes and not its time."""
    words = request.words
    smallest = smallest or request.objective == "size"
    cost = codec.SMALLEST if smallest else FAST_ESCAPE_BYTES
    counts = codec.statistics(words, geometry, request.dtype, request.threads)
    groups = codec.choose(counts, geometry, request.dtype, cost, bits)
    return Candidate(
        kernel_of(geometry, request.dtype),
        geometry,
        groups.total(),
        padded_weights_of(geometry),
        node=Node(NAME, VERSION),
        components=lambda threads: codec.encode(words, groups, threads),
        options={"code": "fields"}
        | ({"smallest": True} if smallest else {})
        | ({} if bits is None else {"bits": bits}),
    )


def _distances(request: Request, geometry: Geometry, bit_layout: str | None = None) -> list[Candidate]:
    found = distances.choices(request.words, geometry, request.dtype, request.threads, bit_layout)
    choice = distances.smallest(found)
    if choice is None:
        return []
    return [
        Candidate(
            kernel_of(geometry, request.dtype, DISTANCES),
            geometry,
            choice.coded.nbytes,
            padded_weights_of(geometry),
            node=choice.node(request.dtype),
            components=choice.encode,
            options={"code": "distances", "bit_layout": choice.centre.bit_layout},
        )
    ]


def _pairs_seen(request: Request) -> tuple[Geometry, Geometry]:
    """Bytes and their values: by rows whatever the orientation, or as a flat sequence."""
    shape = request.words.shape
    geometry = folded(shape) if request.view == "folded" else choose(shape, "out_in")
    own = nibbles.seen_as(geometry)
    if own is None:
        geometry, own = folded(shape), nibbles.seen_as(folded(shape))
    assert own is not None
    return geometry, own


def _nibbles(request: Request) -> list[Candidate]:
    """Where the caller says that bytes are pairs."""
    if request.int4_columns is None:
        return []
    geometry, own = _pairs_seen(request)
    words = request.words
    model = split.size_model(nibbles.take_apart(words), own, INDEX, request.threads)
    coded = split.under(model, lambda: nibbles.take_apart(words))
    return [
        Candidate(
            kernel_of(geometry, request.dtype, NIBBLES),
            geometry,
            coded.nbytes,
            padded_weights_of(geometry),
            node=Node(NAME, VERSION, {}, {NIBBLES: coded.node}),
            components=lambda threads: prefixed(NIBBLES, coded.encode(threads)),
            options={"code": "nibbles", "int4_columns": request.int4_columns},
        )
    ]


def _nibble_fields(
    request: Request, bits: int | None = None, smallest: bool = False, signed: bool | None = None
) -> list[Candidate]:
    """Returns candidates of 4-bit values as fields, planned as the product of values. smallest: as in `_fields`."""
    if request.int4_columns is None:
        return []
    smallest = smallest or request.objective == "size"
    geometry, own = _pairs_seen(request)
    cost = codec.SMALLEST if smallest else FAST_ESCAPE_BYTES
    found = nibbles.choose_fields(request.words, own, request.threads, cost, bits, signed)
    options: dict[str, Any] = {"code": "nibble_fields", "int4_columns": request.int4_columns, "signed": found.signed}
    options |= ({"smallest": True} if smallest else {}) | ({} if bits is None else {"bits": bits})
    return [
        Candidate(
            kernel_of(own, request.dtype),
            geometry,
            found.groups.total(),
            padded_weights_of(own),
            node=found.node(),
            components=found.encode,
            options=options,
            allowance=0 if request.objective == "size" else request.words.nbytes // ALLOWED_SHARE,
        )
    ]


def value_candidates(values: Values, request: Request) -> list[ValueCandidate]:
    """The smallest code. No product is faster for it, so other objectives have none."""
    if request.objective != "size":
        return []
    choice = distances.smallest(_choices(values, request.threads, None))
    assert choice is not None
    return [_of_values(values, choice)]


def value_candidate_for(values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
    """The caller's code in a bit layout; what the caller leaves open is the smallest. Raises ArgumentError."""
    bit_layout = options.pop("bit_layout", None)
    if bit_layout is not None and bit_layout not in distances.NARROW:
        raise ArgumentError(f"bit_layout is one of {', '.join(distances.NARROW)}, not {bit_layout!r}")
    found = _choices(values, threads, bit_layout)
    if "code" not in options:
        if options:
            raise ArgumentError(f"distances without code take no parameter {next(iter(options))!r}")
        return _of_values(values, min(found, key=lambda one: one.coded.nbytes))
    centre, model = found[0].centre, found[0].coded.model
    code = check_code(centre.bit_layout, options)
    check_constant(code, model, "values whose symbols are all the same")
    coded = split.under(model, distances.folding(values.words, centre), code)
    return _of_values(values, distances.Choice(centre, coded))


def _choices(values: Values, threads: int, bit_layout: str | None) -> list[distances.Choice]:
    return distances.choices(values.words, Groups(values.groups), values.dtype, threads, bit_layout)


def _of_values(values: Values, choice: distances.Choice) -> ValueCandidate:
    options = {"bit_layout": choice.centre.bit_layout} | choice.coded.options
    return ValueCandidate(choice.node(values.dtype), choice.coded.nbytes, choice.encode, VALUE_KERNEL, options)

"""Expressions for names whose arguments no signature fits; and which names multiply."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from differential import namespaces
from differential.calls import Call
from differential.recipes_helpers import HELPERS
from differential.recipes_layers import LAYERS
from differential.recipes_modules import MODULES
from differential.recipes_tensors import TENSORS

_ALL = {
    name: expressions
    for table in (TENSORS, LAYERS, MODULES, HELPERS)
    for names, expressions in table.items()
    for name in names.split()
}

_FACTORS = (
    "linalg.* *.svd *.pinverse *.nuclear_norm *.lstsq *.qr *.geqrf *.inverse *.det *.logdet *.slogdet *.cholesky* *.lu* *.lobpcg "
    "*.ormqr *.orgqr *_lowrank *.triangular_solve fft.* *.norm *.cov *.corrcoef *.stft"
)
"""Names whose results depend on where LAPACK's scratch lies, in torch alone."""
_PRODUCTS = (
    "*matmul* *.mm *.mv *.bmm *.addmm* *.addmv* *.addbmm* *.baddbmm* *.addr* *linear* *bilinear* *.einsum *dot* *.inner *.outer "
    "*conv* *.backward *.spectral_norm *.chain_matmul *.multi_dot *.cdist *.pdist *attention* *.matrix_* *rnn* *lstm* *gru*"
)
"""Names that come to products of the weight, which mode "fused" adds up in another order; so do expressions with x."""


def of(name: str) -> list[Call] | None:
    """The calls that are written for a name, or None."""
    if name not in _ALL:
        return None
    return [Call(name, _called(name, one)) for one in _ALL[name]]


def _called(name: str, expression: str) -> str:
    """`{f}(w, ...)` as the name is called: a function of torch, or a method of its first argument."""
    head, brace, rest = expression.partition("{f}(")
    owner, _, last = name.partition(".")
    if not brace:
        return expression
    if owner != "Tensor":
        return f"{head}{namespaces.TEXTS[owner]}.{last}({rest}"
    first, more = _split(rest)
    if namespaces.is_attribute(name):
        return f"{head}({first}).{last}"
    return f"{head}({first}).{last}({more}"


def _split(rest: str) -> tuple[str, str]:
    """The first argument, and what follows it up to the end."""
    depth = 0
    for at, letter in enumerate(rest):
        depth += (letter in "([") - (letter in ")]")
        if (letter == "," and depth == 0) or depth < 0:
            return rest[:at], rest[at:].removeprefix(", ")
    raise ValueError(rest)


def unused(names: set[str]) -> list[str]:
    """Recipes for names that the libraries do not have."""
    return sorted(set(_ALL) - names)


def multiplies(call: Call) -> bool:
    """Whether sums of the weight may be added up in another order."""
    return _fits(call.name, _PRODUCTS) or re.search(r"\bx\b", call.expression) is not None


def rounds(call: Call) -> bool:
    """Whether torch itself gives other bits from time to time."""
    return _fits(call.name, _FACTORS)


def leaves_memory(call: Call) -> bool:
    """Whether memory is given out that nobody has written."""
    return _fits(call.name, "*resize* Tensor.new") or "empty(" in call.expression or "empty_" in call.name


def _fits(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())

"""What is done to each number, or to sums of them, as operators that our graph has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tersely.torch.networks.decomposing import Rule, Writer

aten: Any = torch.ops.aten
LARGEST_INTEGER = 1 << 24
"""Up to here float32 holds every integer."""


def _between(write: Writer, x: Any, least: Any, greatest: Any) -> Any:
    for bound, operator in ((least, aten.maximum.default), (greatest, aten.minimum.default)):
        if isinstance(bound, (int, float)):
            bound = None if math.isinf(bound) else write.filled(bound)
        x = x if bound is None else write(operator, x, bound)
    return x


def _clamp(least: str | None, greatest: str | None) -> Rule:
    def rule(write: Writer) -> Any:
        found = write.arguments
        if write.result.dtype == torch.bool:
            return None
        bounds = [None if name is None else found[name] for name in (least, greatest)]
        if bounds == [0, 6]:
            return write(aten.relu6.default, found["self"])
        return _between(write, found["self"], *bounds)

    return rule


def _slopes(write: Writer, x: Any, slope: Any) -> Any:
    """x above zero, slope x below."""
    below = write(aten.mul.Tensor, write(aten.minimum.default, x, write.filled(0.0)), slope)
    return write(aten.add.Tensor, write(aten.relu.default, x), below)


def _leaky(write: Writer) -> Any:
    found = write.arguments
    return _slopes(write, found["self"], found["negative_slope"])


def _prelu(write: Writer) -> Any:
    x, slope = write.arguments["self"], write.arguments["weight"]
    rank, (count,) = len(write.shape(x)), write.shape(slope)
    if count != 1:
        slope = write(aten.view.default, slope, [count] + [1] * (rank - 2))
    return _slopes(write, x, slope)


def _exponential(write: Writer, x: Any, alpha: float, scale: float, inner: float) -> Any:
    """scale (x above zero, alpha (exp(inner x) - 1) below)."""
    low = write(aten.minimum.default, x, write.filled(0.0))
    low = low if inner == 1 else write(aten.mul.Tensor, low, inner)
    below = write(aten.sub.Tensor, write(aten.exp.default, low), 1.0)
    below = write(aten.mul.Tensor, below, alpha * scale) if alpha * scale != 1 else below
    above = write(aten.relu.default, x)
    above = write(aten.mul.Tensor, above, scale) if scale != 1 else above
    return write(aten.add.Tensor, above, below)


def _elu(write: Writer) -> Any:
    found = write.arguments
    return _exponential(write, found["self"], found["alpha"], found["scale"], found["input_scale"])


def _selu(write: Writer) -> Any:
    return _exponential(write, write.arguments["self"], 1.6732632423543772, 1.0507009873554805, 1.0)


def _celu(write: Writer) -> Any:
    alpha = write.arguments["alpha"]
    return _exponential(write, write.arguments["self"], alpha, 1.0, 1 / alpha)


def _mish(write: Writer) -> Any:
    """x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2), which is x where e^x is large."""
    x = write.arguments["self"]
    powers = write(aten.exp.default, write(aten.minimum.default, x, write.filled(20.0)))
    n = write(aten.mul.Tensor, powers, write(aten.add.Tensor, powers, 2.0))
    return write(aten.mul.Tensor, x, write(aten.div.Tensor, n, write(aten.add.Tensor, n, 2.0)))


def _absolute(write: Writer) -> Any:
    x = write.arguments["self"]
    return write(aten.maximum.default, x, write(aten.neg.default, x))


def _square(write: Writer) -> Any:
    x = write.arguments["self"]
    return write(aten.mul.Tensor, x, x)


def _with_alpha(operator: Any) -> Rule:
    """A sum or difference whose second operand has a factor."""

    def rule(write: Writer) -> Any:
        found = write.arguments
        if found["alpha"] == 1:
            return None
        other = found["other"]
        more = other * found["alpha"] if isinstance(other, (int, float)) else write(
            aten.mul.Tensor, other, found["alpha"])  # fmt: skip
        return write(operator, found["self"], more)

    return rule


def _addc(operator: Any) -> Rule:
    def rule(write: Writer) -> Any:
        found = write.arguments
        more = write(operator, found["tensor1"], found["tensor2"])
        more = more if found["value"] == 1 else write(aten.mul.Tensor, more, found["value"])
        return write(aten.add.Tensor, found["self"], more)

    return rule


def _addmm(write: Writer) -> Any:
    """beta self + alpha mat1 mat2, but for the linear layer that it is where both are 1 (`aten_tokens`)."""
    found = write.arguments
    constants = all(found[name].op == "get_attr" for name in ("self", "mat2"))
    vector = write.shape(found["self"]) == write.shape(found["mat2"])[1:]
    if constants and vector and found["mat1"].op != "get_attr" and (found["alpha"], found["beta"]) == (1, 1):
        return None
    product = write(aten.mm.default, found["mat1"], found["mat2"])
    product = product if found["alpha"] == 1 else write(aten.mul.Tensor, product, found["alpha"])
    if found["beta"] == 0:
        return product
    added = found["self"] if found["beta"] == 1 else write(aten.mul.Tensor, found["self"], found["beta"])
    return write(aten.add.Tensor, product, added)


def _baddbmm(write: Writer) -> Any:
    found = write.arguments
    product = write(aten.bmm.default, found["batch1"], found["batch2"])
    product = product if found["alpha"] == 1 else write(aten.mul.Tensor, product, found["alpha"])
    if found["beta"] == 0:
        return product
    added = found["self"] if found["beta"] == 1 else write(aten.mul.Tensor, found["self"], found["beta"])
    return write(aten.add.Tensor, product, added)


def _norm(order: str) -> Rule:
    """Roots of sums of squares."""

    def rule(write: Writer) -> Any:
        found = write.arguments
        x, axes = found["self"], found.get("dim")
        if found[order] not in (2, None) or found.get("dtype") is not None:
            return None
        axes = list(range(len(write.shape(x)))) if axes is None else axes
        sums = write(aten.sum.dim_IntList, write(aten.mul.Tensor, x, x), axes, bool(found.get("keepdim")))
        return write(aten.sqrt.default, sums)

    return rule


def _variance(write: Writer) -> Any:
    found = write.arguments
    x, axes = found["self"], found["dim"]
    rank = len(write.shape(x))
    axes = list(range(rank)) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    count = math.prod(write.shape(x)[axis] for axis in axes)
    correction = found.get("correction", int(found.get("unbiased", True)))
    rest = count - (1 if correction is None else correction)
    if rest <= 0:
        return None
    inside = write(aten.sub.Tensor, x, write(aten.mean.dim, x, axes, True))
    mean = write(aten.mean.dim, write(aten.mul.Tensor, inside, inside), axes, bool(found["keepdim"]))
    return mean if rest == count else write(aten.mul.Tensor, mean, count / rest)


def _deviation(write: Writer) -> Any:
    variance = _variance(write)
    return None if variance is None else write(aten.sqrt.default, variance)


def _strictly(operator: Any, other: Any) -> Rule:
    """Greater or less: that or equal, and not equal."""

    def rule(write: Writer) -> Any:
        x, z = write.arguments["self"], write.arguments["other"]
        return write(aten.bitwise_and.Tensor, write(operator, x, z), write(other, x, z))

    return rule


def _least(write: Writer) -> Any:
    found = write.arguments
    opposite = write(aten.amax.default, write(aten.neg.default, found["self"]), found["dim"], found["keepdim"])
    return write(aten.neg.default, opposite)


def _not(write: Writer) -> Any:
    x = write.arguments["self"]
    return write(aten.eq.Scalar, x, 0) if x.meta["val"].dtype == torch.bool else None


def _of_truths(rule: Callable[[Writer, Any, Any], Any]) -> Rule:
    def decomposed(write: Writer) -> Any:
        x, z = write.arguments["self"], write.arguments["other"]
        if any(one.meta["val"].dtype != torch.bool for one in (x, z)):
            return None
        return rule(write, x, z)

    return decomposed


def _where(write: Writer) -> Any:
    """What is not chosen counts for nothing, even where it is infinite."""
    found = write.arguments
    chosen, x, z = found["condition"], found["self"], found["other"]
    told = not isinstance(x, (int, float)) and isinstance(z, (int, float)) and z == 0
    if told or chosen.meta["val"].dtype != torch.bool or not _held(x, z):
        return None
    return _chosen(write, chosen, x, z)


def _held(*numbers: Any) -> bool:
    """Whether float32 holds the integers among some operands."""
    return all(not isinstance(one, int) or abs(one) <= LARGEST_INTEGER for one in numbers)


def _chosen(write: Writer, chosen: Any, x: Any, z: Any) -> Any:
    refused = write(aten.eq.Scalar, chosen, 0)
    if isinstance(x, (int, float)) and x == 0:
        return _shaped(write, _only(write, z, refused))
    if isinstance(z, (int, float)) and z == 0:
        return _shaped(write, _only(write, x, chosen))
    return write(aten.add.Tensor, _only(write, x, chosen), _only(write, z, refused))


def _only(write: Writer, x: Any, where: Any) -> Any:
    x = write.filled(x) if isinstance(x, (int, float)) else x
    return write(aten.where.ScalarOther, where, x, 0)


def _shaped(write: Writer, value: Any) -> Any:
    shape = list(write.result.shape)
    return value if write.shape(value) == shape else write(aten.expand.default, value, shape)


def _masked_fill(write: Writer) -> Any:
    found = write.arguments
    if found["mask"].meta["val"].dtype != torch.bool or not _held(found["value"]):
        return None
    return _chosen(write, found["mask"], found["value"], found["self"])


def _like(write: Writer) -> Any:
    """Numbers that depend on no data."""
    found = write.arguments
    number = found.get("fill_value", found.get("value", 1 if "ones" in str(write.node.target) else 0))
    return write.filled(number, write.result.shape) if isinstance(number, (int, float)) else None


def _rms_norm(write: Writer) -> Any:
    found = write.arguments
    x = found["input"]
    axes = list(range(-len(found["normalized_shape"]), 0))
    eps = torch.finfo(x.meta["val"].dtype).eps if found["eps"] is None else found["eps"]
    mean = write(aten.mean.dim, write(aten.mul.Tensor, x, x), axes, True)
    root = write(aten.sqrt.default, write(aten.add.Tensor, mean, eps))
    y = write(aten.div.Tensor, x, root)
    return y if found["weight"] is None else write(aten.mul.Tensor, y, found["weight"])


def _attention(write: Writer) -> Any:
    """Keys that several heads share are repeated; axes before the heads are one, the images."""
    found = write.arguments
    q, k, v, mask = (found[name] for name in ("query", "key", "value", "attn_mask"))
    rank, heads = len(write.shape(q)), write.shape(q)[-3] if len(write.shape(q)) > 2 else 1
    shared = found["enable_gqa"] and write.shape(k)[-3] != heads
    if not shared and rank in (3, 4):
        return None if not found["enable_gqa"] else _attended(write, q, k, v, mask)
    if shared:
        k, v = (write(aten.repeat_interleave.self_int, one, heads // write.shape(one)[-3], -3) for one in (k, v))
    if rank > 4:
        first = write.shape(q)[:-2]
        if any(write.shape(one)[:-2] != first for one in (k, v)):
            return None
        merged = [math.prod(first[:-1]), first[-1]]
        if mask is not None and len(write.shape(mask)) > 2:
            full = [*first, *write.shape(mask)[-2:]]
            mask = write(aten.reshape.default, write(aten.expand.default, mask, full), [*merged, *full[-2:]])
        q, k, v = (write(aten.reshape.default, one, [*merged, *write.shape(one)[-2:]]) for one in (q, k, v))
    elif rank == 2:
        q, k, v = (write(aten.unsqueeze.default, one, 0) for one in (q, k, v))
    attended = _attended(write, q, k, v, mask)
    shape = list(write.result.shape)
    return attended if write.shape(attended) == shape else write(aten.reshape.default, attended, shape)


def _attended(write: Writer, q: Any, k: Any, v: Any, mask: Any) -> Any:
    found = write.arguments
    return write(
        aten.scaled_dot_product_attention.default, q, k, v, mask, found["dropout_p"], found["is_causal"],
        scale=found["scale"],
    )  # fmt: skip


def _names(operators: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in operators.split()}


RULES: dict[str, Rule] = {
    **_names("clamp.default clamp.Tensor clip.default", _clamp("min", "max")),
    **_names("clamp_min.default clamp_min.Tensor", _clamp("min", None)),
    **_names("clamp_max.default clamp_max.Tensor", _clamp(None, "max")),
    **_names("hardtanh.default", _clamp("min_val", "max_val")),
    **_names("leaky_relu.default", _leaky),
    **_names("prelu.default", _prelu),
    **_names("elu.default", _elu),
    **_names("selu.default", _selu),
    **_names("celu.default", _celu),
    **_names("mish.default", _mish),
    **_names("abs.default", _absolute),
    **_names("square.default", _square),
    **_names("add.Tensor", _with_alpha(aten.add.Tensor)),
    **_names("sub.Tensor", _with_alpha(aten.sub.Tensor)),
    **_names("addcmul.default", _addc(aten.mul.Tensor)),
    **_names("addcdiv.default", _addc(aten.div.Tensor)),
    **_names("addmm.default", _addmm),
    **_names("baddbmm.default", _baddbmm),
    **_names("linalg_vector_norm.default", _norm("ord")),
    **_names("norm.ScalarOpt_dim norm.Scalar", _norm("p")),
    **_names("var.correction var.dim", _variance),
    **_names("std.correction std.dim", _deviation),
    **_names("amin.default", _least),
    **_names("gt.Scalar", _strictly(aten.ge.Scalar, aten.ne.Scalar)),
    **_names("gt.Tensor", _strictly(aten.ge.Tensor, aten.ne.Tensor)),
    **_names("lt.Scalar", _strictly(aten.le.Scalar, aten.ne.Scalar)),
    **_names("lt.Tensor", _strictly(aten.le.Tensor, aten.ne.Tensor)),
    **_names("bitwise_not.default logical_not.default", _not),
    **_names("bitwise_or.Tensor __or__.Tensor logical_or.default", _of_truths(
        lambda write, x, z: write(aten.ne.Scalar, write(aten.maximum.default, x, z), 0))),
    **_names("bitwise_xor.Tensor __xor__.Tensor logical_xor.default", _of_truths(
        lambda write, x, z: write(aten.ne.Tensor, x, z))),
    **_names("where.self where.ScalarSelf where.ScalarOther where.Scalar", _where),
    **_names("masked_fill.Scalar masked_fill.Tensor", _masked_fill),
    **_names("new_zeros.default new_ones.default new_full.default zeros_like.default ones_like.default "
             "full_like.default fill.Scalar", _like),
    **_names("rms_norm.default", _rms_norm),
    **_names("scaled_dot_product_attention.default", _attention),
}  # fmt: skip

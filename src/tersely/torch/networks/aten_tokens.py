"""Translations of aten's operators on tokens: attention, norms, embeddings, masks."""

from __future__ import annotations

from typing import Any

import torch

from tersely.core.errors import UnsupportedError
from tersely.torch.networks.calls import FLOATS, Call, Translate, Translated, inputs_of


def _attention(call: Call) -> Translated:
    if call["dropout_p"]:
        raise UnsupportedError("attention with dropout: call model.eval() first")
    if call["enable_gqa"]:
        raise UnsupportedError("attention whose keys are shared by groups of queries")
    roles = inputs_of(call, x="query", k="key", v="value", mask="attn_mask")
    attributes: dict[str, Any] = {"causal": bool(call["is_causal"])}
    if call["scale"] is not None:
        attributes["scale"] = float(call["scale"])
    if "mask" in roles:
        mask = call.tensors["attn_mask"]
        attributes["boolean"] = mask.dtype == torch.bool
        values = mask.values
        if values is not None and bool((values if attributes["boolean"] else values == 0).all()):
            del roles["mask"], attributes["boolean"]
    return Translated("attention", roles, attributes)


def _layer_norm(call: Call) -> Translated:
    if len(call["normalized_shape"]) != 1:
        raise UnsupportedError("layer norm over more than the last axis")
    return Translated("layer_norm", inputs_of(call, x="input", weight="weight", bias="bias"), {"eps": call["eps"]})


def _softmax(call: Call) -> Translated:
    if call["dtype"] not in (None, *FLOATS):
        raise UnsupportedError(f"softmax in {call['dtype']}")
    return Translated("softmax", {"x": call["self"]}, {"axis": call["dim"]})


def _both(call: Call) -> Translated:
    """With what is true everywhere: the other one, repeated where it has to be."""
    if call.result.dtype != torch.bool:
        raise UnsupportedError("bits of integers")
    for one, other in (("self", "other"), ("other", "self")):
        values = call.tensors[one].values
        if values is not None and bool(values.all()):
            source, target = list(call.tensors[other].shape), list(call.result.shape)
            own = [None] * (len(target) - len(source)) + source
            shape = [-1 if a == b else b for a, b in zip(own, target, strict=True)]
            return Translated("expand", {"x": call[other]}, {"shape": shape})
    return Translated("both", {"x": call["self"], "z": call["other"]}, {})


def _to(call: Call) -> Translated:
    """Numbers of every dtype are float32 in the graph, truths 1 and 0; what is narrower in the model is not rounded."""
    first = next(iter(call.arguments))
    source, target = call.tensors[first].dtype, call.result.dtype
    if target == torch.bool and source != torch.bool:
        return Translated("not_equal", {"x": call[first], "z": call.number(0)}, {})
    if source.is_floating_point and target not in FLOATS:
        raise UnsupportedError(f"{source} to {target}")
    return Translated(None, {"x": call[first]}, {})


def _from_number(call: Call) -> Translated:
    if call["alpha"] != 1:
        raise UnsupportedError("subtraction with a factor")
    other = call["other"] if isinstance(call["other"], str) else call.number(call["other"])
    return Translated("subtract", {"x": other, "z": call["self"]}, {})


def _with(operator: str, second: str = "other") -> Translate:
    def translate(call: Call) -> Translated:
        if call.arguments.get("rounding_mode") is not None:
            raise UnsupportedError("a quotient that is rounded")
        other = call[second] if isinstance(call[second], str) else call.number(call[second])
        return Translated(operator, {"x": call["self"], "z": other}, {})

    return translate


def _turned(operator: str) -> Translate:
    """The operands in the other order."""

    def translate(call: Call) -> Translated:
        other = call["other"] if isinstance(call["other"], str) else call.number(call["other"])
        return Translated(operator, {"x": other, "z": call["self"]}, {})

    return translate


def _masked(call: Call) -> Translated:
    if call["other"] != 0 or call.tensors["condition"].dtype != torch.bool:
        raise UnsupportedError("where another number than zero is chosen")
    return Translated("masked", {"x": call["self"], "z": call["condition"]}, {})


def _cumulative_sum(call: Call) -> Translated:
    if call["dtype"] is not None and call["dtype"] not in (*FLOATS, torch.int64, torch.int32):
        raise UnsupportedError(f"a cumulative sum in {call['dtype']}")
    return Translated("cumulative_sum", {"x": call["self"]}, {"axis": call["dim"]})


def _activation(operator: str) -> Translate:
    return lambda call: Translated(operator, {"x": call["self"]}, {})


def _product(second: str) -> Translate:
    """A constant matrix is the weight of a linear layer, stored [inputs, outputs]."""

    def translate(call: Call) -> Translated:
        x, z = call.tensors["self"], call.tensors[second]
        if x.values is None and z.values is not None and len(z.shape) == 2 <= len(x.shape) and z.dtype in FLOATS:
            return Translated("linear", {"x": call["self"], "weight": call[second]}, {"in_out": True})
        return Translated("matrix_product", {"x": call["self"], "z": call[second]}, {})

    return translate


def _addmm(call: Call) -> Translated:
    """A linear layer whose weight is stored [inputs, outputs]; what is none is taken apart before (`decompositions`)."""
    return Translated("linear", {"x": call["mat1"], "weight": call["mat2"], "bias": call["self"]}, {"in_out": True})


def _names(operators: str, translate: Translate) -> dict[str, Translate]:
    return {f"aten.{name}": translate for name in operators.split()}


TRANSLATIONS: dict[str, Translate] = {
    **_names("scaled_dot_product_attention.default", _attention),
    **_names("layer_norm.default", _layer_norm),
    **_names("softmax.int", _softmax),
    **_names("matmul.default", _product("other")),
    **_names("bmm.default", _product("mat2")),
    **_names("mm.default", _product("mat2")),
    **_names("addmm.default", _addmm),
    **_names("embedding.default", lambda call: Translated(
        "embedding", {"x": call["indices"], "weight": call["weight"]}, {})),
    **_names("__and__.Tensor bitwise_and.Tensor logical_and.default", _both),
    **_names("to.dtype to.device to.dtype_layout to.other _to_copy.default type_as.default", _to),
    "prims.convert_element_type.default": _to,
    **_names("rsub.Scalar rsub.Tensor", _from_number),
    **_names("div.Tensor div.Tensor_mode", _with("divide")),
    **_names("reciprocal.default", lambda call: Translated(
        "divide", {"x": call.number(1), "z": call["self"]}, {})),
    **_names("pow.Tensor_Scalar", _with("power", "exponent")),
    **_names("ge.Scalar ge.Tensor", _with("greater_equal")),
    **_names("le.Scalar le.Tensor", _turned("greater_equal")),
    **_names("maximum.default", _with("maximum")),
    **_names("minimum.default", _with("minimum")),
    **_names("where.ScalarOther", _masked),
    **_names("cumsum.default", _cumulative_sum),
    **_names("eq.Scalar eq.Tensor", _with("equal")),
    **_names("ne.Scalar ne.Tensor", _with("not_equal")),
    **_names("exp.default", _activation("exp")),
    **_names("erf.default", _activation("erf")),
    **_names("sqrt.default", _activation("sqrt")),
    **_names("neg.default", _activation("negative")),
}  # fmt: skip

"""`TensorSpec`: the description of a coded tensor as one short text, so that it can be hashed, compared, pickled and
traced.

Compiled code is guarded by such texts. What layers of one shape do not have in common, such as tables of codes, would
have each of them compiled anew; so compilers see the *frame* of a spec, with all that shapes follow from, and the rest
as one more component: the *filling*.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from tersely.codes import registry
from tersely.codes.registry import label
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import CorruptError
from tersely.tensors.tensor import Tensor

_WORDS = ("dtype", "view", "orientation", "column_order", "profile")


@dataclass(frozen=True)
class TensorSpec:
    """text: everything of an `Encoded` but the bytes of its components, as JSON."""

    text: str

    @cached_property
    def document(self) -> dict[str, Any]:
        """The text as values. Raises CorruptError for a text that `spec_of` did not make."""
        return _parse(self.text)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the components, in order."""
        return tuple(self.document["names"])

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.document["shape"])

    @cached_property
    def dtype(self) -> str:
        return str(self.document["dtype"])

    # -- for compilers ---------------------------------------------------------------------------------------------

    @cached_property
    def is_frame(self) -> bool:
        return bool(self.document.get("frame"))

    @cached_property
    def frame(self) -> TensorSpec:
        """What layers of one shape have in common."""
        return TensorSpec(_text({**self.document, "profile": "", "tree": _bare(self.document["tree"]), "frame": True}))

    def filling(self) -> np.ndarray:
        """This spec as bytes of a length that most specs of the same kind have: lengths are guarded, too."""
        raw = self.text.encode()
        length = max(_FILLING, 1 << (len(raw) - 1).bit_length())
        return np.frombuffer(bytearray(raw.ljust(length)), np.uint8)

    def filled(self, filling: np.ndarray) -> TensorSpec:
        """Returns the spec of this frame and a filling. Raises CorruptError where they do not belong together."""
        whole = TensorSpec(filling.tobytes().decode("utf-8", "replace").rstrip())
        if self != TensorSpec(_text({**whole.document, **_shape_part(self.document)})).frame:
            raise CorruptError("the description of a compressed tensor does not fit its components; compile it again")
        return TensorSpec(_text({**whole.document, **_shape_part(self.document)}))

    @cached_property
    def code(self) -> str:
        """The code as people read it: 'split packed(4)', 'split layered(3)', 'palette 16', 'affine 4-bit by rows',
        'sparse bitmap, split layered(3)'.
        """
        return self.document["tree"]["formulation"] if self.is_frame else label(self.document["tree"])

    def transposed(self) -> TensorSpec | None:
        """Returns the spec whose tensor is this one's with the last two dimensions exchanged, by the same components.

        None for specs other than matrices and stacks of them in `split`, which alone is coded in either orientation.
        """
        document = self.document
        if document["view"] not in ("matrix", "stack") or not _either_orientation(document["tree"]):
            return None
        orientation = "out_in" if document["orientation"] == "in_out" else "in_out"
        *stack, rows, columns = document["shape"]
        return TensorSpec(_text({**document, "shape": [*stack, columns, rows], "orientation": orientation}))

    def pointwise(self) -> TensorSpec | None:
        """Returns the spec of [outputs, inputs] whose components are those of this kernel [outputs, inputs, 1, ...].

        None for kernels of more taps, and for folded ones, which products do not know.
        """
        document, shape = self.document, self.shape
        if document["view"] != "convolution" or document["column_order"] != "as_is" or set(shape[2:]) != {1}:
            return None
        return TensorSpec(_text({**document, "shape": list(shape[:2]), "view": "matrix"}))


_FILLING = 512


def _either_orientation(tree: dict[str, Any]) -> bool:
    row = registry.BY_NAME.get(tree["formulation"])
    return row is not None and row.EITHER_ORIENTATION


def _bare(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree of formulations without their versions and parameters."""
    children = {name: _bare(child) for name, child in tree.get("children", {}).items()}
    return {"formulation": tree["formulation"], "version": 0, **({"children": children} if children else {})}


def _shape_part(document: dict[str, Any]) -> dict[str, Any]:
    """What `transposed` and `pointwise` change, which frames may have undergone since they were made."""
    return {word: document[word] for word in ("shape", "view", "orientation")}


@lru_cache(maxsize=4096)
def _parse(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
        shape = document["shape"]
        fits = all(type(length) is int and length >= 0 for length in shape)
        fits = fits and all(isinstance(document[word], str) for word in _WORDS)
        fits = fits and all(isinstance(name, str) for name in document["names"])
        _node(document["tree"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise CorruptError("the description of a compressed tensor is damaged; save it again")
    by_name(document["dtype"])
    return dict(document)


def _node(document: Any) -> Node:
    children = {name: _node(child) for name, child in document.get("children", {}).items()}
    return Node(document["formulation"], document["version"], dict(document.get("parameters", {})), children)


def spec_of(encoded: Encoded) -> TensorSpec:
    document = {
        "shape": list(encoded.shape),
        **{word: getattr(encoded, word) for word in _WORDS},
        "tree": encoded.node.to_json(),
        "names": list(encoded.components),
    }
    return TensorSpec(_text(document))


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def unframed(spec: TensorSpec, components: Sequence[Any], real: bool) -> tuple[TensorSpec, Sequence[Any]]:
    """(spec, components) of what compilers handed over: tensors, with bytes where `real`. Raises CorruptError."""
    if not spec.is_frame or not real:
        return spec, components
    return spec.filled(components[-1].detach().numpy()), components[:-1]


def tensor_of(spec: TensorSpec, components: Sequence[np.ndarray]) -> Tensor:
    """Returns the `tersely.Tensor` of a spec and its components. Raises CorruptError or UnsupportedError."""
    document = spec.document
    words = {word: document[word] for word in _WORDS}
    node = _node(document["tree"])
    return Tensor(
        Encoded(shape=spec.shape, node=node, components=dict(zip(spec.names, components, strict=True)), **words)
    )

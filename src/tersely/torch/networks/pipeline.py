"""`tersely.torch.pipeline`: a model compiled ahead of time to run on compressed weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from tersely.core.choices import MODES, OBJECTIVES, Mode, Objective
from tersely.core.errors import ArgumentError
from tersely.graph import files
from tersely.graph.graph import Graph
from tersely.graph.lowering import Choices
from tersely.graph.pipeline import Constant
from tersely.graph.pipeline import Pipeline as Executed
from tersely.graph.profile import Profile
from tersely.planner import choose
from tersely.tensors.tensor import Tensor
from tersely.torch.networks.calls import FLOATS
from tersely.torch.networks.identical import decoding_copy, weight_bytes
from tersely.torch.networks.partition import Encode, Partitioned, lent
from tersely.torch.weight.dtypes import as_array


class Pipeline:
    """A model that runs on compressed weights: called as the model is, with tensors, and without gradients.

    left: nodes that torch runs for lack of an operator, each with the reason; {} where there is none.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        inputs: tuple[Any, ...],
        named: dict[str, Any],
        encode: Encode,
        choices: Choices,
    ) -> None:
        self._model, self._encode = model, _once(encode, {name for name, _ in model.named_parameters()})
        self._choices = choices
        self._partitions: dict[Any, Partitioned] = {}
        self._called: dict[Any, Callable[..., Any]] = {}
        self._as_made = _versions(model)
        self._partitioned = self._of(inputs, named, *pytree.tree_flatten((inputs, named)))
        self.left = self._partitioned.left

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Returns what the model returns for these inputs. Other shapes are exported when they are first seen."""
        with torch.inference_mode(False), torch.no_grad():
            shapes = _shapes(inputs) if not named else None
            if shapes in self._called:
                return self._called[shapes](*inputs)
            leaves, form = pytree.tree_flatten((inputs, named))
            found = self._of(inputs, named, leaves, form)
            if shapes is not None and found.takes(form):
                self._called[shapes] = found.direct
            return found(form, leaves)

    def _of(
        self, inputs: tuple[Any, ...], named: dict[str, Any], leaves: Sequence[Any], form: pytree.TreeSpec
    ) -> Partitioned:
        """The model as it was exported for inputs of these shapes: sizes that it computes with are theirs.

        leaves, form: of both, as pytree flattens them.
        """
        _check_inputs(leaves)
        key = form, tuple((tuple(one.shape), one.dtype) if isinstance(one, torch.Tensor) else one for one in leaves)
        if key not in self._partitions:
            if changed := [name for name, one in _versions(self._model).items() if self._as_made.get(name) != one]:
                raise ArgumentError(
                    f"{changed[0]!r} of the model was changed after the pipeline was made, which these shapes are new to: "
                    "make another pipeline"
                )
            with torch.no_grad():
                program = torch.export.export(self._model, inputs, named)
            self._partitions[key] = Partitioned(program, self._encode, self._choices)
        return self._partitions[key]

    def profile(self, *inputs: torch.Tensor, threads: int | None = None) -> Profile:
        """Returns what each node of one run took.

        Args:
            inputs: as the model is called.
            threads: workers; None for `get_num_threads()`.

        Raises:
            ArgumentError: where torch runs a part of the model.
        """
        whole = self._whole("profiled")
        _check_inputs(inputs)
        return whole.profile(*map(lent, inputs), threads=threads)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the pipeline to one file, which `tersely.load_pipeline` opens without torch.

        Args:
            path: the file; an existing one is replaced.

        Raises:
            ArgumentError: where torch runs a part of the model, naming it.
            DestinationError: where the file cannot be written.
        """
        files.save(self._whole("saved"), path)

    def _whole(self, done: str) -> Executed:
        whole = self._partitioned.whole
        if whole is None:
            reasons = "; ".join(list(self.left.values())[:3]) or "its inputs or outputs are rearranged by torch"
            raise ArgumentError(f"a pipeline with parts that torch runs cannot be {done}: {reasons}")
        return whole

    @property
    def graph(self) -> Graph:
        """The network as it runs, to be printed. Raises ArgumentError where torch runs a part of the model."""
        return self._whole("shown as one graph").graph

    @property
    def weight_bytes(self) -> tuple[int, int]:
        """Bytes of the weights and other constants that the executor has, as they were and as they are held."""
        sizes = [piece.weight_bytes for piece in self._partitioned.pieces]
        return sum(plain for plain, _ in sizes), sum(held for _, held in sizes)

    def __repr__(self) -> str:
        pieces = self._partitioned.pieces
        nodes = sum(len(piece.graph.nodes) for piece in pieces)
        plain, held = self.weight_bytes
        ratio = f"{plain / 1e6:.1f} MB of weights held in {held / 1e6:.1f} MB" if held else "no weights"
        left = "".join(f"\n  left to torch: {reason}" for reason in self.left.values())
        return f"tersely.torch.Pipeline({nodes} nodes in {len(pieces)} piece{'s' * (len(pieces) != 1)}, {ratio}){left}"


class _Identical(Pipeline):
    """A pipeline in mode "identical": a copy of the model, which decodes each weight and calls torch's operator."""

    def __init__(self, model: torch.nn.Module, objective: Objective) -> None:
        self._copy, self.left = decoding_copy(model, objective), {}

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            return self._copy(*inputs, **named)

    def _whole(self, done: str) -> Executed:
        raise ArgumentError(
            f"in mode 'identical' torch runs every operator, so the pipeline cannot be {done}: "
            "tersely.torch.save_model keeps a compressed model, mode='fused' has a program"
        )

    @property
    def weight_bytes(self) -> tuple[int, int]:
        return weight_bytes(self._copy)

    def __repr__(self) -> str:
        plain, held = self.weight_bytes
        return (
            f"tersely.torch.Pipeline(mode 'identical': torch's operators, "
            f"{plain / 1e6:.1f} MB of weights held in {held / 1e6:.1f} MB)"
        )


def pipeline(
    model: torch.nn.Module,
    example_inputs: tuple[Any, ...],
    objective: Objective = "balanced",
    example_kwargs: dict[str, Any] | None = None,
    mode: Mode = "fused",
    winograd: bool = True,
    bfloat16_products: bool = True,
) -> Pipeline:
    """Compiles a model ahead of time, to be run on compressed weights by tersely's own executor.

    Args:
        model: any module, in eval mode; it is left as it is.
        example_inputs: as the model is called; other batch and image sizes may follow.
        objective: 'size', 'balanced' or 'speed'.
        example_kwargs: inputs that the model takes by name.
        mode: 'fused' runs tersely's executor; 'identical' decodes each weight and calls torch's operator, so results
            are bit for bit those of the model, at torch's speed and decoding's on top.
        winograd: whether 3 x 3 convolutions of larger images may take Winograd's method, which rounds otherwise. Of how
            it is run, not of the network: files do not hold it.
        bfloat16_products: whether products by weights of bfloat16 round what they multiply to bfloat16, where the
            processor multiplies its pairs; sums are float32. False: what is multiplied is float32. Files do not hold it.

    Returns:
        What is called as the model is. Operators that the executor does not have stay in torch.

    Raises:
        ArgumentError: for what is no module, or in training mode; in mode 'identical' for one that cannot be copied.
        Exception: what torch.export raises where control flow depends on data; torch.compile with backend='tersely'
            takes such models.
    """
    if not isinstance(model, torch.nn.Module):
        raise ArgumentError(f"a pipeline is made of a torch.nn.Module, not of a {type(model).__name__}")
    if model.training:
        raise ArgumentError("the model is in training mode, in which norms and dropout differ: call model.eval() first")
    if not isinstance(example_inputs, tuple):
        example_inputs = (example_inputs,)
    if objective not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(OBJECTIVES)}")
    if mode not in MODES:
        raise ArgumentError(f"unknown mode {mode!r}: use one of {', '.join(MODES)}")
    _check_model(model)
    _check_inputs(pytree.tree_leaves((example_inputs, example_kwargs)))
    if mode == "identical":
        return _Identical(model, objective)
    return Pipeline(
        model, example_inputs, dict(example_kwargs or {}), encoder(objective), Choices(winograd, bfloat16_products)
    )


def encoder(objective: Objective) -> Encode:
    """How constants are coded: weights of products by the planner, everything else as floats as they are."""

    def encoded(name: str, tensor: torch.Tensor, rows: int, in_out: bool) -> Constant:
        array = as_array(tensor.detach().cpu())
        if not rows:
            return array.copy() if tensor.dtype in FLOATS else array.astype(np.float32)  # the model may be written to
        orientation = "in_out" if in_out else "out_in"
        return Tensor(choose.encode(array, objective=objective, profile="native", pixels=rows, orientation=orientation))

    return encoded


def _check_inputs(leaves: Sequence[Any]) -> None:
    """Raises ArgumentError for arrays that are no tensors, and tensors that are no plain memory of the CPU."""
    for one in leaves:
        if isinstance(one, np.ndarray):
            raise ArgumentError("a pipeline of a model takes tensors, as the model does: give torch.from_numpy(x)")
        if isinstance(one, torch.Tensor) and (one.device.type != "cpu" or one.layout != torch.strided):
            where = one.device if one.device.type != "cpu" else one.layout
            raise ArgumentError(
                f"a pipeline runs on plain tensors of the CPU, and an input is {where}: x.cpu(), x.to_dense()"
            )


def _shapes(inputs: Sequence[Any]) -> tuple[Any, ...] | None:
    """By what calls with plain tensors alone are known; None for others, which `_check_inputs` may refuse."""
    if any(type(one) is not torch.Tensor or one.device.type != "cpu" or one.layout != torch.strided for one in inputs):
        return None
    return tuple((one.shape, one.dtype) for one in inputs)


def _check_model(model: torch.nn.Module) -> None:
    for name, one in [*model.named_parameters(), *model.named_buffers()]:
        if one.device.type != "cpu":
            raise ArgumentError(f"{name!r} of the model is on {one.device}: a pipeline is made of weights on the CPU")


def _versions(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """Which tensor every parameter and buffer is, and how often it was written to, as far as torch counts that."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: (id(one), 0 if one.is_inference() else one._version) for name, one in tensors}


def _once(encode: Encode, parameters: set[str]) -> Encode:
    """An encoder that codes every parameter once, whatever shapes the model is exported for."""
    known: dict[tuple[str, bool], Constant] = {}

    def encoded(name: str, tensor: torch.Tensor, rows: int, in_out: bool) -> Constant:
        if not rows or name not in parameters:
            return encode(name, tensor, rows, in_out)
        if (name, in_out) not in known:
            known[name, in_out] = encode(name, tensor, rows, in_out)
        return known[name, in_out]

    return encoded

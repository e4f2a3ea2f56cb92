"""Compressed models through exporters: an ordinary dense model with the exact weights comes out, and the codes stay."""

from __future__ import annotations

import copy
import functools
import inspect
import io
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional as F
from torch_fixtures import EVERYTHING, mode, two_threads

import tersely.torch
from tersely.core.errors import ArgumentError, TerselyError
from tersely.torch import TerselyTensor
from tersely.torch.interop import exporters, imports
from tersely.torch.weight.tersely_tensor import _said

# torch says of TorchScript, and of its own way of counting trees, that they will go.
pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


class Net(nn.Module):
    """One of each: a lookup, tied to the head, products both ways round, convolutions of three taps and one, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(160, 64)
        self.first = nn.Linear(64, 64)
        self.taps = nn.Conv1d(64, 64, 3, padding=1)
        self.tap = nn.Conv1d(64, 64, 1)
        self.turned = nn.Parameter(torch.randn(64, 64) / 8)
        self.head = nn.Linear(64, 160, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(self.embed(tokens)))
        h = h + self.tap(self.taps(h.transpose(1, 2))).transpose(1, 2)
        return self.head(torch.matmul(h, self.turned))


TOKENS = torch.arange(14).view(2, 7) * 11


@pytest.fixture(scope="module")
def dense() -> Net:
    torch.manual_seed(1)
    return Net().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def answers(dense: Net) -> torch.Tensor:
    return dense(TOKENS)


@pytest.fixture
def coded(dense: Net) -> Net:
    _said.add(exporters.WARNING)  # it comes once in a process
    made = copy.deepcopy(dense)
    assert len(tersely.torch.compress_(made, objective="size", config=EVERYTHING).compressed) == 5
    return made


def is_coded(module: nn.Module) -> bool:
    return any(isinstance(weight, TerselyTensor) for weight in module.state_dict(keep_vars=True).values())


def check_dense_twin(made: nn.Module, coded: nn.Module, answers: torch.Tensor) -> None:
    """`made` is an ordinary module with the weights' bits; `coded` has its codes still."""
    assert not is_coded(made)
    assert is_coded(coded)
    torch.testing.assert_close(made(TOKENS), answers)
    exact = {name: value.decode() for name, value in coded.state_dict().items() if isinstance(value, TerselyTensor)}
    found = made.state_dict()
    for name, weight in exact.items():
        if name in found:  # tracing shortens the names of what it reached in another way
            assert torch.equal(found[name].view(torch.int32), weight.view(torch.int32)), name


def saved(script: Any) -> Any:
    file = io.BytesIO()
    torch.jit.save(script, file)
    return torch.jit.load(io.BytesIO(file.getvalue()))


# -- TorchScript ---------------------------------------------------------------------------------------------------------

TRACED: dict[str, Callable[[Net], Any]] = {
    "trace": lambda net: torch.jit.trace(net, TOKENS),
    "trace of forward": lambda net: torch.jit.trace(net.forward, TOKENS),
    "trace by name": lambda net: torch.jit.trace(func=net, example_inputs=TOKENS),
    "trace_module": lambda net: torch.jit.trace_module(net, {"forward": TOKENS}),
    "trace of a module around it": lambda net: torch.jit.trace(nn.Sequential(net), TOKENS),
    "script": lambda net: torch.jit.script(net),
    "script of a module around it": lambda net: torch.jit.script(nn.Sequential(net)),
}


@pytest.mark.parametrize("way", TRACED)
def test_torchscript_of_a_compressed_model_is_dense(way: str, coded: Net, answers: torch.Tensor) -> None:
    before = dict(coded.named_parameters())
    _said.discard(exporters.WARNING)
    with pytest.warns(UserWarning, match="exported as dense weights"):
        made = TRACED[way](coded)
    check_dense_twin(made, coded, answers)
    assert all(weight is before[name] for name, weight in coded.named_parameters())
    check_dense_twin(saved(made), coded, answers)


def _two_deep(net: Net) -> Any:
    def inner(tokens: torch.Tensor) -> torch.Tensor:
        return net(tokens)

    return lambda tokens: inner(tokens)


FUNCTIONS: dict[str, Callable[[Net], Any]] = {
    "closure": lambda net: lambda tokens: net(tokens),
    "closure of a closure": _two_deep,
    "partial inside": lambda net: (lambda call: lambda tokens: call(tokens))(functools.partial(net)),
}


@pytest.mark.parametrize("way", FUNCTIONS)
def test_functions_around_a_compressed_model_are_traced_on_dense_weights(
    way: str, coded: Net, answers: torch.Tensor
) -> None:
    made = torch.jit.trace(FUNCTIONS[way](coded), TOKENS)
    torch.testing.assert_close(saved(made)(TOKENS), answers)
    assert "tersely" not in str(made.graph)
    assert is_coded(coded)


def test_compressed_example_inputs_are_traced_as_dense_ones(coded: Net, dense: Net) -> None:
    x = torch.randn(3, 64)
    made = torch.jit.trace(F.linear, (x, coded.first.weight))
    assert torch.equal(made(x, dense.first.weight), F.linear(x, dense.first.weight))


def _through_a_file(script: Any, folder: Path) -> Any:
    script.save(folder / "script.pt")
    return torch.jit.load(folder / "script.pt")


WRITTEN: dict[str, Callable[[Any, Path], Any]] = {
    "torch.jit.save": lambda script, folder: saved(script),
    "its own save": _through_a_file,
    "save_to_buffer": lambda script, folder: torch.jit.load(io.BytesIO(script.save_to_buffer())),
    "freeze": lambda script, folder: saved(torch.jit.freeze(script)),
    "optimize_for_inference": lambda script, folder: torch.jit.optimize_for_inference(script),
}


@pytest.mark.parametrize("script", ["script", "trace"])
@pytest.mark.parametrize("way", WRITTEN)
def test_a_script_that_was_compressed_afterwards_is_written_dense(
    script: str, way: str, dense: Net, answers: torch.Tensor, tmp_path: Path
) -> None:
    made = TRACED[script](copy.deepcopy(dense))
    assert tersely.torch.compress_(made, objective="size", config=EVERYTHING).compressed
    torch.testing.assert_close(made(TOKENS), answers, atol=1e-3, rtol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = WRITTEN[way](made, tmp_path)
    check_dense_twin(again, made, answers)


def test_names_of_a_scripted_function_are_those_of_its_caller() -> None:
    def thrice(x: torch.Tensor) -> torch.Tensor:
        return x * 3

    @torch.jit.script
    def scaled(x: torch.Tensor) -> torch.Tensor:
        return thrice(F.relu(x))

    assert torch.equal(scaled(torch.ones(2)), torch.full((2,), 3.0))


def test_int8_layers_are_traced_in_operators_of_torch() -> None:
    model = nn.Sequential(tersely.torch.Int8Linear.from_linear(nn.Linear(128, 96)))
    x = torch.randn(3, 128)
    expected = model(x)
    for codes in (False, True):
        if codes:
            config = {"0": {"formulation": "integer", "minimum_bytes": 0}}
            assert tersely.torch.compress_(model, config=config).compressed
        made = torch.jit.trace(model, x)
        assert "tersely::" not in str(made.inlined_graph)
        torch.testing.assert_close(saved(made)(x), expected)
        assert torch.equal(model(x), expected)
        with pytest.raises(TerselyError, match=r"Int8Linear \(0\) cannot be scripted.*torch.jit.trace"):
            torch.jit.script(model)


# -- wrappers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entrance", [one for one in exporters.ENTRANCES if one.startswith("torch.")])
def test_wrappers_are_transparent(entrance: str) -> None:
    module, _, path = entrance.partition(":")
    wrapped = functools.reduce(getattr, path.split("."), sys.modules[module])
    assert wrapped.of_tersely
    ours = wrapped
    while getattr(
        ours.__wrapped__, "of_tersely", False
    ):  # libraries that other tests import wrap some of them once more
        ours = ours.__wrapped__
    assert inspect.signature(ours) == inspect.signature(ours.__wrapped__)
    assert ours.__doc__ == ours.__wrapped__.__doc__
    if ours is wrapped and "." not in path:  # what others wrap once more is theirs to pickle
        assert pickle.loads(pickle.dumps(wrapped)) is wrapped
    exporters.install()
    assert functools.reduce(getattr, path.split("."), sys.modules[module]) is wrapped


def test_dense_models_pass_untouched(dense: Net) -> None:
    before = dict(dense.named_parameters())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*tersely.*")
        made = torch.jit.trace(dense, TOKENS)
    assert made.first.weight is before["first.weight"]  # shared, as torch does it


# -- dense_weights -------------------------------------------------------------------------------------------------------


def test_dense_weights_are_exact_tied_and_gone_afterwards(coded: Net, dense: Net, mode: str) -> None:
    before = dict(coded.named_parameters())
    coded.register_buffer("held", tersely.torch.encode(torch.randn(64, 64), mode=mode))
    coded.loose = tersely.torch.encode(torch.randn(64, 64), mode=mode)
    with torch.inference_mode(), tersely.torch.dense_weights(coded) as inside:
        assert inside is coded
        assert not is_coded(coded)
        assert type(coded.held) is torch.Tensor
        assert type(coded.loose) is torch.Tensor
        assert coded.embed.weight is coded.head.weight
        assert isinstance(coded.embed.weight, nn.Parameter)
        for name, weight in coded.named_parameters():
            assert torch.equal(weight, dense.get_parameter(name))
            assert not weight.requires_grad
        with tersely.torch.dense_weights(coded):
            pass
        assert not is_coded(coded)
    assert all(weight is before[name] for name, weight in coded.named_parameters())
    assert isinstance(coded.held, TerselyTensor)
    assert isinstance(coded.loose, TerselyTensor)


def test_an_error_inside_gives_the_codes_back(coded: Net) -> None:
    with pytest.raises(ZeroDivisionError), tersely.torch.dense_weights(coded):
        _ = 1 // 0
    assert is_coded(coded)
    with pytest.raises(RuntimeError):
        torch.jit.trace(coded, torch.randn(2, 2))  # no tokens
    assert is_coded(coded)


@pytest.mark.parametrize("write", ["in place", "data", "replaced", "cast"])
def test_what_is_written_inside_is_kept(write: str, coded: Net) -> None:
    new = torch.full((64, 64), 0.5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with tersely.torch.dense_weights(coded):
            if write == "in place":
                coded.first.weight.copy_(new)
            elif write == "data":
                coded.first.weight.data = new
            elif write == "cast":
                coded.first.half()
            else:
                coded.first.weight = nn.Parameter(new)
    assert any("first.weight" in str(one.message) for one in caught) == (write != "replaced")
    assert not isinstance(coded.first.weight, TerselyTensor)
    assert coded.first.weight.dtype is torch.float16 if write == "cast" else torch.equal(coded.first.weight, new)
    assert isinstance(coded.embed.weight, TerselyTensor)
    assert coded.head.weight is coded.embed.weight


def test_recurrent_layers_follow(dense: Net) -> None:
    lstm = nn.LSTM(64, 64, batch_first=True).requires_grad_(False)
    x = torch.randn(2, 5, 64)
    expected = lstm(x)[0]
    assert tersely.torch.compress_(lstm, objective="size", config=EVERYTHING).compressed
    with tersely.torch.dense_weights(lstm):
        assert torch.equal(lstm(x)[0], expected)
        assert not any(isinstance(weight, TerselyTensor) for weight in lstm._flat_weights)
    assert any(isinstance(weight, TerselyTensor) for weight in lstm._flat_weights)
    torch.testing.assert_close(torch.jit.trace(lstm, x)(x)[0], expected)


# -- programs ------------------------------------------------------------------------------------------------------------


def tersely_operators(program: Any) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if "tersely" in str(node.target)]


@pytest.mark.parametrize("decomposed", [False, True])
def test_programs_on_dense_weights(decomposed: bool, coded: Net, answers: torch.Tensor) -> None:
    program = torch.export.export(coded, (TOKENS,))
    if decomposed:
        program = program.run_decompositions()
        assert tersely_operators(program)
    names = list(program.state_dict)
    made = tersely.torch.dense_program(program)
    assert list(program.state_dict) == names
    assert not tersely_operators(made)
    assert not any(isinstance(value, TerselyTensor) for value in made.state_dict.values())
    assert not any(value.dtype is torch.uint8 for value in made.state_dict.values())
    for node in made.graph.nodes:
        assert not isinstance(node.meta.get("val"), TerselyTensor), node
    torch.testing.assert_close(made.module()(TOKENS), answers)
    file = io.BytesIO()
    torch.export.save(made, file)
    torch.testing.assert_close(torch.export.load(io.BytesIO(file.getvalue())).module()(TOKENS), answers)
    assert tersely.torch.dense_program(made) is made
    again = made.run_decompositions()
    torch.testing.assert_close(again.module()(TOKENS), answers)


def test_programs_keep_dynamic_shapes(coded: Net, dense: Net) -> None:
    program = torch.export.export(coded, (TOKENS,), dynamic_shapes={"tokens": {0: torch.export.Dim("batch")}})
    for one in (program, program.run_decompositions()):
        many = TOKENS.repeat(3, 1)
        torch.testing.assert_close(tersely.torch.dense_program(one).module()(many), dense(many))


def test_what_is_no_program_is_refused(coded: Net) -> None:
    with pytest.raises(ArgumentError, match="not a Net"):
        tersely.torch.dense_program(coded)  # type: ignore[arg-type]


# -- ONNX and OpenVINO ---------------------------------------------------------------------------------------------------


def run_onnx(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(model)
    return torch.from_numpy(session.run(None, {session.input_names[0]: tokens.numpy()})[0])


def test_onnx_by_torchscript(coded: Net, answers: torch.Tensor, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX export needs onnx")
    torch.onnx.export(coded, (TOKENS,), str(tmp_path / "model.onnx"), dynamo=False)
    model = onnx.load(tmp_path / "model.onnx")
    torch.testing.assert_close(run_onnx(model, TOKENS), answers, atol=1e-4, rtol=1e-4)
    weights = {weight.name: weight.raw_data for weight in model.graph.initializer}
    assert weights["embed.weight"] == coded.embed.weight.decode().numpy().tobytes()
    assert is_coded(coded)


@pytest.mark.parametrize("given", ["module", "program", "decomposed program"])
def test_onnx_by_programs(given: str, coded: Net, answers: torch.Tensor) -> None:
    pytest.importorskip("onnxscript", reason="torch.onnx.export(dynamo=True) needs onnxscript")
    what: Any = coded if given == "module" else torch.export.export(coded, (TOKENS,))
    what = what.run_decompositions() if given == "decomposed program" else what
    made = torch.onnx.export(what, (TOKENS,), dynamo=True, verbose=False)
    assert made is not None
    assert is_coded(coded)
    torch.testing.assert_close(run_onnx(made.model_proto, TOKENS), answers, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("given", ["module", "program", "script"])
def test_openvino(given: str, coded: Net, dense: Net, answers: torch.Tensor) -> None:
    openvino = pytest.importorskip("openvino", reason="needs openvino")
    what: Any = coded
    if given == "program":
        what = torch.export.export(coded, (TOKENS,))
    elif given == "script":
        what = torch.jit.script(copy.deepcopy(dense))
        tersely.torch.compress_(what, objective="size", config=EVERYTHING)
    made = openvino.convert_model(what, example_input=TOKENS if given == "module" else None, input=[([2, 7], np.int64)])
    found = torch.from_numpy(openvino.compile_model(made, "CPU")(TOKENS.numpy())[0])
    torch.testing.assert_close(found, answers, atol=1e-3, rtol=1e-3)
    assert is_coded(coded)

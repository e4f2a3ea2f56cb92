"""Nobody opens a compressed folder wrongly: plain transformers, `tersely exec`, and folders that save_pretrained writes."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from families import WIDE, answer, build
from model_fixtures import Folders, folders, llama, one_thread
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tersely
import tersely.torch
from tersely.cli import exec
from tersely.core.errors import TerselyError
from tersely.torch import TerselyTensor
from tersely.transformers import TerselyConfig

PLAIN = """
import json, sys, transformers
from pathlib import Path
from safetensors.torch import load_file
transformers.utils.logging.set_verbosity_error()
dense, told = sys.argv[1], {}
own = transformers.AutoConfig.from_pretrained(dense)
for name in sys.argv[2:]:
    ways = {
        "AutoModelForCausalLM": lambda: transformers.AutoModelForCausalLM.from_pretrained(name),
        "AutoModel": lambda: transformers.AutoModel.from_pretrained(name),
        "the class": lambda: transformers.LlamaForCausalLM.from_pretrained(name),
        "a dtype": lambda: transformers.AutoModel.from_pretrained(name, dtype="float32"),
        "a pipeline": lambda: transformers.pipeline("text-generation", model=name, tokenizer=object()),
        "another config": lambda: transformers.AutoModelForCausalLM.from_pretrained(name, config=own),
        "no strictness": lambda: [
            transformers.LlamaForCausalLM(own).load_state_dict(load_file(file), strict=False)
            for file in Path(name).glob("*.safetensors")
        ],
    }
    for way, call in ways.items():
        try:
            call()
        except Exception as error:
            told[f"{Path(name).name}, {way}"] = f"{type(error).__name__}: {error}"
        else:
            told[f"{Path(name).name}, {way}"] = "opened"
assert not [name for name in sys.modules if name.startswith("tersely")]
print(json.dumps(told))
"""
BY_CONFIG = ("AutoModelForCausalLM", "AutoModel", "the class", "a dtype", "a pipeline")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A model whose weights compress_ compresses."""
    root = tmp_path_factory.mktemp("wide")
    build("llama", torch.bfloat16, **WIDE).save_pretrained(root / "dense")
    tersely.compress(root / "dense", root / "packed")
    return Folders("llama", torch.bfloat16, root / "dense", root / "packed")


def python(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment})


def compressed_in_memory(dense: Path) -> Any:
    """A model that was loaded as it is, and compressed afterwards."""
    model = AutoModelForCausalLM.from_pretrained(dense, dtype="auto")
    tersely.torch.compress_(model, profile="portable", progress=False)
    return model


def test_plain_transformers_stops_at_every_folder_of_ours(wide: Folders, tmp_path: Path) -> None:
    wide.load(wide.dense).save_pretrained(tmp_path / "dense shards", max_shard_size="2MB")
    tersely.compress(tmp_path / "dense shards", tmp_path / "shards")
    wide.load(wide.packed).save_pretrained(tmp_path / "saved")
    compressed_in_memory(wide.dense).save_pretrained(tmp_path / "compressed", max_shard_size="2MB")
    places = [wide.packed, *(tmp_path / name for name in ("shards", "saved", "compressed"))]
    done = python("-c", PLAIN, wide.dense, *places)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told) == 7 * len(places)
    for what, text in told.items():
        assert text != "opened", what
        if what.endswith(BY_CONFIG):
            assert "import tersely.transformers" in text, (what, text)
            assert "tersely exec" in text, what


def test_a_config_of_another_folder_is_refused(wide: Folders, tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(wide.dense)
    with pytest.raises(
        TerselyError, match="model.safetensors is compressed, but the config that is used does not say so"
    ):
        AutoModelForCausalLM.from_pretrained(wide.packed, config=config)
    own = transformers.AutoConfig.from_pretrained(wide.packed)
    assert not hasattr(own, "transformers_weights")
    assert isinstance(AutoModelForCausalLM.from_pretrained(wide.packed, config=own).lm_head.weight, TerselyTensor)


# -- save_pretrained ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wide", "mixtral", "bert"])
def test_a_model_compressed_in_memory_is_saved_and_loads(
    name: str, wide: Folders, folders: Callable, tmp_path: Path
) -> None:
    if name == "mixtral" and transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 keeps experts apart, each too small to compress")
    here = wide if name == "wide" else folders(name)
    name = here.name
    model = here.load(here.dense)
    tersely.torch.compress_(model, profile="portable", progress=False)
    before = dict(vars(model)), dict(vars(model.config))
    model.save_pretrained(tmp_path / "saved", max_shard_size="2MB")
    assert (set(vars(model)), set(vars(model.config)) - {"architectures"}) == (
        set(before[0]),
        set(before[1]) - {"architectures"},
    )
    again = here.load(tmp_path / "saved")
    assert torch.equal(answer(name, again), answer(name, model))
    kept = {key for key, weight in model.named_parameters() if isinstance(weight, TerselyTensor)}
    assert kept
    assert {key for key, weight in again.named_parameters() if isinstance(weight, TerselyTensor)} == kept
    tersely.decompress(tmp_path / "saved", tmp_path / "back")
    dense, back = here.load(here.dense), here.load(tmp_path / "back")
    assert all(torch.equal(a, b) for a, b in zip(dense.parameters(), back.parameters(), strict=True))
    assert "tersely" not in (tmp_path / "back/config.json").read_text()


def test_the_folder_says_what_the_weights_are_not_how_they_were_loaded(wide: Folders, tmp_path: Path) -> None:
    model = wide.load(wide.packed)
    tersely.torch.decompress_(model)
    model.save_pretrained(tmp_path / "dense")
    assert "tersely" not in (tmp_path / "dense/config.json").read_text()
    assert set(load_file(tmp_path / "dense/model.safetensors")) == set(load_file(wide.dense / "model.safetensors"))
    tersely.torch.compress_(model, profile="portable", progress=False)
    model.save_pretrained(tmp_path / "coded")
    assert isinstance(wide.load(tmp_path / "coded").lm_head.weight, TerselyTensor)


def test_a_state_that_is_given_is_what_is_saved(wide: Folders, tmp_path: Path) -> None:
    model = compressed_in_memory(wide.dense)
    state = dict(model.state_dict())
    state["model.norm.weight"] = torch.full_like(state["model.norm.weight"], 3.0)
    model.save_pretrained(tmp_path / "coded", state_dict=state)
    assert wide.load(tmp_path / "coded").model.norm.weight.detach()[0].item() == 3.0
    plain = {name: tensor.decode() if isinstance(tensor, TerselyTensor) else tensor for name, tensor in state.items()}
    model.save_pretrained(tmp_path / "dense", state_dict=plain)
    assert "tersely" not in (tmp_path / "dense/config.json").read_text()
    assert torch.equal(load_file(tmp_path / "dense/model.safetensors")["lm_head.weight"], plain["lm_head.weight"])


def test_what_no_folder_holds_is_refused_before_anything_is_written(wide: Folders, tmp_path: Path) -> None:
    model = wide.load(wide.dense)
    up = model.model.layers[0].mlp.up_proj
    model.model.layers[0].mlp.up_proj = tersely.torch.Int8Linear.from_linear(copy.deepcopy(up).float())
    with pytest.raises(TerselyError, match="layers.0.mlp.up_proj: transformers has no folder for Int8Linear"):
        model.save_pretrained(tmp_path / "int8")
    model = compressed_in_memory(wide.dense)
    model.hf_quantizer = type("Other", (), {"quantization_config": type("C", (), {"quant_method": "gptq"})()})()
    with pytest.raises(TerselyError, match="quantised with 'gptq' and compressed.*decompress_"):
        model.save_pretrained(tmp_path / "two")
    del model.hf_quantizer
    if transformers.__version__.startswith("4."):
        with pytest.raises(TerselyError, match="drop safe_serialization=False"):
            model.save_pretrained(tmp_path / "pickle", safe_serialization=False)
    assert not list(tmp_path.iterdir())


def test_the_index_is_the_truth_for_the_adapter_too(wide: Folders, tmp_path: Path) -> None:
    wide.load(wide.dense).save_pretrained(tmp_path / "dense", max_shard_size="2MB")
    weight_map = json.loads((tmp_path / "dense/model.safetensors.index.json").read_text())["weight_map"]
    last = tmp_path / "dense" / sorted(set(weight_map.values()))[-1]
    name = next(key for key, file in weight_map.items() if file != last.name and key.endswith("weight"))
    tensors = load_file(last)
    save_file({**tensors, name: torch.zeros(3, 3)}, last, {"format": "pt"})
    tersely.compress(tmp_path / "dense", tmp_path / "packed")
    model = wide.load(tmp_path / "packed")
    assert torch.equal(answer("llama", model), answer("llama", wide.load(wide.packed)))


# -- tersely exec ------------------------------------------------------------------------------------------------------

PROGRAM = """#!{python}
import sys
from multiprocessing import get_context
from transformers import AutoModelForCausalLM


def kind(folder):
    return type(AutoModelForCausalLM.from_pretrained(folder).lm_head.weight).__name__


if __name__ == "__main__":
    here = sys.argv[1]
    found = [kind(here)]
    if "--children" in sys.argv:
        with get_context("spawn").Pool(1) as pool:
            found += pool.map(kind, [here])
    print(sys.argv[2:], found)
    sys.exit(7)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "serve"
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    return path


def test_a_program_of_others_runs_with_the_adapter_in_it_and_in_its_children(llama: Any, script: Path) -> None:
    (script.parent / "site").mkdir()
    (script.parent / "site/sitecustomize.py").write_text("print('as before')\n")
    places = os.pathsep.join([str(script.parent / "site"), os.environ.get("PYTHONPATH", "")])
    words = ("-m", "tersely.cli", "exec", "--", script, llama.packed, "--port", "80", "-h", "--children")
    done = python(*words, PYTHONPATH=places)
    assert done.returncode == 7, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "['--port', '80', '-h', '--children'] ['FusedTensor', 'FusedTensor']"
    assert lines[0] == "as before"


def _script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_how_programs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    here, me = tmp_path / "tool", sys.executable
    for text, options in (
        (f"#!{me}\nprint()\n", []),
        (f"#!{me} -X dev\nprint()\n", ["-X", "dev"]),
        (f"#!/bin/sh\n'''exec' \"{me}\" \"$0\" \"$@\"\n' '''\nprint()\n", []),
    ):
        assert exec.program(_script(here, text)) == [me, *options, str(here)]
        assert exec.program("tool") == [me, *options, str(here)]
    file = _script(tmp_path / "file.py", "print()\n")
    assert exec.program(file) == [me, file]
    os.chmod(file, 0o644)
    assert exec.program(file) == [me, file]
    assert exec.program("python") == exec.program("python3") == [me]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("no-such-program", None, "no-such-program: no such program in .* or in PATH"),
        ("no-such-file.py", None, "no-such-file.py: no such program"),
        ("tool", "#!/bin/sh\necho\n", "tool is not a Python program"),
        ("tool", "\x7fELF\0\0", "tool is not a Python program"),
        ("tool", "", "tool is not a Python program"),
        ("tool", "#!/no/such/python\n", "tool runs with /no/such/python, which cannot be started"),
        (
            "tool",
            "#!{other}\n",
            "tool runs with .*/python3, which has no tersely: install 'tersely\\[transformers\\]' there",
        ),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(
    name: str, text: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    other = _script(tmp_path / "python3", "#!/bin/sh\necho tersely torch transformers\n")
    if text is not None:
        _script(tmp_path / name, text.format(other=other))
    with pytest.raises(TerselyError, match=message) as caught:
        exec.program(name)
    assert "\n" not in str(caught.value)

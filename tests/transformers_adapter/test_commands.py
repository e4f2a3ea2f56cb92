"""`tersely run` and `tersely bench MODEL_DIR`: small models with a tokenizer of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import VOCABULARY, WIDE, build
from model_fixtures import folders, llama, one_thread
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

import tersely
from tersely.cli.__main__ import app
from tersely.core.errors import TerselyError

BENCH = ("--tokens", "3", "--prefill", "8", "--prefill", "16", "--json")


def invoke(*arguments: Any) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def with_words(llama: Any, tmp_path: Path) -> tuple[Path, Path]:
    """(dense folder, compressed folder), with a tokenizer that knows w0, w1, ..."""
    from shutil import copytree

    dense = copytree(llama.dense, tmp_path / "dense")
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(dense)
    tersely.compress(dense, tmp_path / "packed")
    return dense, tmp_path / "packed"


def test_run_says_the_same_on_dense_and_compressed_weights(with_words: tuple[Path, Path]) -> None:
    dense, packed = with_words
    arguments = ("--prompt", "w3 w4 w5", "-n", "6", "--json")
    a = json.loads(invoke("run", dense, *arguments).output)
    b = json.loads(invoke("run", packed, *arguments, "--mode", "identical").output)
    assert a["text"] == b["text"]
    assert (a["tokens"], a["prompt_tokens"], a["mode"], b["mode"]) == (6, 3, "dense", "identical")
    assert b["weight_bytes"] < a["weight_bytes"] == a["dense_bytes"] == b["dense_bytes"]
    assert a["tokens_per_second"] > 0


def test_run_prints_the_text_and_the_speed(with_words: tuple[Path, Path]) -> None:
    found = json.loads(invoke("run", with_words[1], "--prompt", "w3 w4", "-n", "4", "--json").output)
    printed = invoke("run", with_words[1], "--prompt", "w3 w4", "-n", "4").output
    assert found["text"].split() == printed.splitlines()[0].split()
    assert "tokens/s" in printed
    assert "x smaller" in printed


@pytest.mark.parametrize("place", [0, 1], ids=["dense", "compressed"])
def test_bench_compares_both_forms_of_a_folder(with_words: tuple[Path, Path], place: int) -> None:
    build("llama", torch.bfloat16, **WIDE).save_pretrained(with_words[0])
    tersely.compress(with_words[0], with_words[1], force=True)
    found = json.loads(invoke("bench", with_words[place], *BENCH).output)
    assert [row["what"] for row in found["rows"]] == ["token", "prefill 8", "prefill 16"]
    assert all(row["dense_ms"] > 0 and row["coded_ms"] > 0 for row in found["rows"])
    assert found["coded_bytes"] < found["dense_bytes"]
    assert found["error"] < 0.05
    assert "x dense" in invoke("bench", with_words[place], "--tokens", "2", "--prefill", "4").output


def test_bench_of_an_encoder(folders: Any) -> None:
    found = json.loads(invoke("bench", folders("bert").packed, *BENCH).output)
    assert [row["what"] for row in found["rows"]] == ["8 tokens", "16 tokens"]


def test_what_cannot_be_run_says_why(llama: Any, folders: Any, tmp_path: Path) -> None:
    for arguments, words in (
        (("run", folders("bert").packed, "--prompt", "a"), "does not generate text"),
        (("run", llama.packed, "--prompt", "a"), "has no tokenizer"),
        (("run", tmp_path, "--prompt", "a"), "is not a model folder"),
        (("bench", folders("vit").packed), "takes pixel_values"),
    ):
        with pytest.raises(TerselyError, match=words):
            invoke(*arguments)


def test_what_cannot_be_run_is_known_before_anything_is_loaded(llama: Any, folders: Any, tmp_path: Path) -> None:
    """Folders of which the configuration is left alone: nobody is sent to a command that refuses, too."""
    from tersely.transformers import measure, running

    for name, runs, benches in (
        ("bert", "tersely bench", None),
        ("vit", "only models that take tokens", "only models that take tokens"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_bytes((folders(name).packed / "config.json").read_bytes())
        with pytest.raises(TerselyError, match=runs):
            running.generate(folder, "a", 1)
        with pytest.raises(TerselyError if benches else Exception, match=benches) as refused:
            measure.bench_folder(folder)
        assert "tersely run" not in str(refused.value)


def test_code_of_a_folder_runs_only_where_it_may(with_words: tuple[Path, Path]) -> None:
    folder = with_words[1]
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "my_own", "architectures": ["MyOwn"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TerselyError, match="no model_type 'my_own'"):
        invoke("run", folder, "--prompt", "w3")
    config["auto_map"] = {"AutoConfig": "my_config.MyConfig", "AutoModelForCausalLM": "my_model.MyOwn"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "my_config.py").write_text(
        "from transformers import LlamaConfig\n\n\nclass MyConfig(LlamaConfig):\n    model_type = 'my_own'\n"
    )
    (folder / "my_model.py").write_text(
        "from transformers import LlamaForCausalLM\nfrom .my_config import MyConfig\n\n\n"
        "class MyOwn(LlamaForCausalLM):\n    config_class = MyConfig\n"
    )
    for command in (("run", folder, "--prompt", "w3"), ("bench", folder)):
        with pytest.raises(TerselyError, match="pass `trust_remote_code=True`"):
            invoke(*command)
    arguments = ("--prompt", "w3 w4 w5", "-n", "4", "--json")
    own = json.loads(invoke("run", folder, *arguments, "--trust-remote-code").output)
    assert own["text"] == json.loads(invoke("run", with_words[0], *arguments).output)["text"]
    found = json.loads(
        invoke("bench", folder, "--tokens", "2", "--prefill", "4", "--trust-remote-code", "--json").output
    )
    assert 0 < found["coded_weights"] < found["weights"]

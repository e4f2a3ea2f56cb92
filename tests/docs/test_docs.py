"""What the documents say is tried: the dump in FORMAT.md, the code in README.md, links between files."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from golden import builders
from support import onnx_files
from support.arrays import same_bits

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def dump() -> tuple[Path, bytes]:
    """The file that FORMAT.md dumps, and the bytes that its dump shows."""
    text = (ROOT / "docs/FORMAT.md").read_text()
    found = re.search(r"<!-- hex: (\S+) -->\n```\n([\s\S]+?)```", text)
    assert found
    lines = found[2].splitlines()
    for number, line in enumerate(lines):
        assert line.startswith(f"{32 * number:08x}: ")
    return ROOT / found[1], bytes.fromhex("".join(line[10:81] for line in lines))


def test_the_dump_is_the_file() -> None:
    path, data = dump()
    assert path.read_bytes() == data


def test_the_dump_decodes_by_the_rules_of_the_text_alone() -> None:
    """A decoder written from FORMAT.md, without a line of tersely: one panel, one chunk, layered(2), bfloat16."""
    _, data = dump()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])

    def component(name: str) -> bytes:
        begin, end = header[f"w.tersely.{name}"]["data_offsets"]
        return data[8 + n + begin : 8 + n + end]

    info = json.loads(component("info"))
    table = bytes.fromhex(info["tree"]["parameters"]["table"])
    assert (info["shape"], info["tree"]["parameters"]["widths"]) == ([16, 4], [2])
    tiles, escapes = component("tiles"), list(component("escapes"))
    planes, heads = struct.unpack("<2Q", tiles[:16]), tiles[16:80]
    symbols = []
    for place in range(64):
        field = (planes[0] >> place & 1) | (planes[1] >> place & 1) << 1
        symbols.append(escapes.pop(0) if field == 3 else table[field])
    words = np.zeros((16, 4), np.uint16)
    for row in range(16):
        for column in range(4):
            place = row // 4 * 16 + column // 2 * 8 + row % 4 * 2 + column % 2
            words[row, column] = (heads[place] & 1) << 15 | symbols[place] << 7 | heads[place] >> 1
    assert same_bits(words.view(ml_dtypes.bfloat16), builders.weights((16, 4), "bfloat16", 1))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n([\s\S]*?)```", page.read_text())


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_python_in_the_documents_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, in an empty folder that holds the `model.safetensors` they speak of."""
    from safetensors.numpy import save_file

    monkeypatch.chdir(tmp_path)
    weights = {
        "model.layer.weight": builders.weights((256, 512), "float32", 5),
        "model.layer.bias": builders.weights((256,), "float32", 6),
    }
    save_file(weights, "model.safetensors")
    namespace: dict[str, object] = {}
    found = blocks(ROOT / page, "python")
    assert found
    for block in found:
        exec(compile(block, page, "exec"), namespace)


def test_python_of_the_page_on_onnx_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model of one MatMul in the empty folder."""
    monkeypatch.chdir(tmp_path)
    weight = onnx_files.array_tensor("layer.weight", builders.weights((256, 512), "float32", 5))
    nodes = [onnx_files.node("MatMul", ("x", "layer.weight"), ("y",))]
    Path("model.onnx").write_bytes(onnx_files.model(onnx_files.graph(nodes, [weight])))
    (block,) = blocks(ROOT / "docs/onnx.md", "python")
    namespace: dict[str, object] = {}
    exec(compile(block, "docs/onnx.md", "exec"), namespace)
    assert np.asarray(namespace["y"]).shape == (1, 512)
    assert Path("again.onnx").read_bytes() == Path("model.onnx").read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_python_about_torch_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs torch: make test installs it")
    pytest.importorskip("peft", reason="needs peft: make test installs it")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(ROOT / "docs/torch.md", "python"):
        exec(compile(block, "docs/torch.md", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_the_python_of_comments_names_files_that_exist() -> None:
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("src/**/*.?pp")]:
        for target in re.findall(r"docs/[\w/]+\.md", path.read_text()):
            assert (ROOT / target).exists(), f"{path}: {target}"


def test_sections_of_the_format_that_comments_name_exist() -> None:
    """A comment names a section by its title: numbers move."""
    titles = set(re.findall(r"^#+ (?:[\d.]+ )?(.+)$", (ROOT / "docs/FORMAT.md").read_text(), re.M))
    named = 0
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("src/**/*.?pp")]:
        text = re.sub(r"\s*\n(?://)?\s*", " ", path.read_text())
        for section in re.findall(r'docs/FORMAT\.md, "([^"]+)"', text) + re.findall(
            r'docs/FORMAT\.md, "[^"]+" and "([^"]+)"', text
        ):
            named += 1
            assert section in titles, f"{path}: docs/FORMAT.md has no section {section!r}"
        assert "docs/FORMAT.md, section" not in text, f"{path}: name the section"
    assert named > 30


def test_python_of_the_page_on_transformers_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small model in the folder `model`, and some words in `input_ids`."""
    torch = pytest.importorskip("torch", reason="needs torch: make test installs it")
    transformers = pytest.importorskip("transformers", reason="needs transformers: make test installs it")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4, vocab_size=256
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained("model")
    namespace: dict[str, object] = {"input_ids": torch.tensor([[3, 14, 15, 92]])}
    found = blocks(ROOT / "docs/transformers.md", "python")
    assert len(found) == 2
    for block in found:
        exec(compile(block, "docs/transformers.md", "exec"), namespace)
    assert namespace["tokens"].shape == (1, 12)  # type: ignore[attr-defined]

"""Pages for readers: what is made by a command is fresh, the front page is short, words are those of the glossary."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tersely
from tersely.codes import registry
from tersely.core import choices

ROOT = Path(__file__).parents[2]
WORDS = tomllib.loads((Path(__file__).parent / "words.toml").read_text())
PROSE = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/**/*.md"))]
PROSE += sorted(ROOT.glob("benchmarks/*.md"))
SOURCES = sorted(path for path in ROOT.glob("src/**/*") if path.suffix in (".py", ".cpp", ".hpp"))


def module(path: str) -> ModuleType:
    """A program that is no part of the package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_front_page_is_one_page() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 120
    assert sum(line.startswith("<!-- table:") for line in lines) == 1
    rows = [line for line in lines if line.startswith("|")]
    assert 2 + 6 <= len(rows) <= 2 + 10, "a head, a rule and a few rows"
    assert sum("](docs/pictures/" in line for line in lines) == 1


def test_tables_are_what_the_records_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    tables = importlib.import_module("benchmarks.tables")
    assert not tables.stale(), "python -m benchmarks.tables"
    used = {name for page in tables.PAGES for name in re.findall(r"<!-- table: (\w+) -->", (ROOT / page).read_text())}
    assert used == set(tables.TABLES)


def test_every_record_is_in_a_table_and_says_where_it_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    record = importlib.import_module("benchmarks.record")
    pages = "".join((ROOT / name).read_text() for name in ("README.md", "docs/benchmarks.md"))
    paths = sorted((ROOT / "benchmarks/records").iterdir())
    assert paths
    for path in paths:
        assert f"benchmarks/records/{path.name}" in pages, f"{path.name}: no table has it; delete it"
        (found,) = (one for where, one in record.of_kind(path.stem.rpartition("_")[2]) if where == path)
        assert record.path_of(found) == path
        assert {"processor", "model", "processors", "isa"} <= set(found["machine"])
        assert re.fullmatch(r"[0-9a-f]{7,12}(-dirty)?", found["commit"]), path
        assert {"python", "numpy"} <= set(found["versions"])
        assert "threads" in found["protocol"]


def test_the_page_of_the_api_is_fresh() -> None:
    pytest.importorskip("torch", reason="needs torch: make test installs it")
    pytest.importorskip("transformers", reason="needs transformers: make test installs it")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "docs/make_api.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_api_has_every_public_name() -> None:
    api = module("docs/make_api.py")
    assert api.listed("tersely") == set(tersely.__all__) - {"__version__"}
    for name in ("tersely.torch", "tersely.transformers"):
        pytest.importorskip(name.rpartition(".")[2], reason="make test installs it")
        assert api.listed(name) == set(importlib.import_module(name).__all__)


def entries() -> dict[str, str]:
    """Terms of the glossary, and what it says of them."""
    found = re.findall(r"^\* \*\*(.+?)\*\*: ((?:.|\n(?!\* ))+)", (ROOT / "docs/glossary.md").read_text(), re.M)
    assert len(found) == len(dict(found)), "a term is explained once"
    return dict(found)


def test_the_glossary_is_in_order_and_in_sentences() -> None:
    terms = entries()
    assert list(terms) == sorted(terms, key=lambda term: term.replace("_", " ").casefold())
    for term, text in terms.items():
        assert text.rstrip().endswith("."), term


def test_the_glossary_has_every_word_that_users_meet() -> None:
    terms = set(entries())
    assert set(registry.NAMES) <= terms
    assert set(choices.OBJECTIVES) <= terms
    assert {"fused", "identical", "packed", "layered", "n_of_m"} <= terms


@pytest.mark.parametrize("rule", WORDS["spelling"], ids=lambda rule: rule["say"])
def test_spelling_is_british(rule: dict[str, Any]) -> None:
    """In prose: code, links and names of others keep the spelling that they have."""
    for path in PROSE:
        text = re.sub(r"```[\s\S]*?```|`[^`\n]*`|\]\([^)]*\)|^    .*$", "", path.read_text(), flags=re.M)
        if path.name == "api.md":
            text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        found = re.search(rule["american"], text, re.I)
        assert not found, f"{relative(path)}: {found and found[0]}: say {rule['say']}"


def tree() -> Iterator[Path]:
    """Every text of the repository."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        pytest.skip("needs the repository: not a git checkout")
    for name in done.stdout.splitlines():
        path = ROOT / name
        if (
            path.is_file()
            and path.suffix not in (".png", ".safetensors", ".onnx", ".bin")
            and path.name != "words.toml"
        ):
            yield path


def check(rule: dict[str, Any], paths: list[Path]) -> None:
    pattern, allowed = re.compile(rule["pattern"], re.I), set(rule.get("allowed", ()))
    found = {}
    for path in paths:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if hit := pattern.search(text):
            found[relative(path)] = hit[0]
    wrong = {name: word for name, word in found.items() if name not in allowed}
    assert not wrong, f"{wrong}: say {rule.get('say', 'nothing of how or where the work was done')}"
    clean = {name for name in allowed - set(found) if (ROOT / name).exists()}
    assert not clean, f"{clean}: take it off the list in words.toml"


@pytest.mark.parametrize("rule", WORDS["work"], ids=lambda rule: rule["pattern"])
def test_nothing_says_how_or_where_the_work_was_done(rule: dict[str, Any]) -> None:
    check(rule, list(tree()))


@pytest.mark.parametrize("rule", WORDS["terms"], ids=lambda rule: rule["pattern"])
def test_one_word_for_one_thing(rule: dict[str, Any]) -> None:
    check(rule, PROSE + (SOURCES if rule.get("src") else []))


def test_the_citation_file_has_what_its_format_asks_for() -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which comes with transformers")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert found["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license", "version"} <= set(found)
    assert found["version"] == tersely.__version__
    for paper in found["references"]:
        assert {"type", "title", "authors", "year"} <= set(paper), paper
        assert re.fullmatch(r"10\.\d{4,}/\S+", paper.get("doi", "10.0000/none")), paper
    assert len({paper["title"] for paper in found["references"]}) == len(found["references"])

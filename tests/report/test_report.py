"""The report: its numbers add up, its page holds nothing but itself, and a browser shows and sorts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from support.arrays import normal

import tersely
from tersely.codes import registry
from tersely.codes.anatomy import sizes
from tersely.codes.protocol import Request
from tersely.core.encoded import Encoded
from tersely.planner import choose as plan
from tersely.report import gather, page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
EVIL = '</script><img src=x onerror="alert(1)">&"\'<b>'


def pruned(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    array = normal(rng, shape, np.dtype(dtype))
    array[rng.random(shape) < 0.8] = 0
    return array


@pytest.fixture
def packed(tmp_path: Path, rng: np.random.Generator) -> Path:
    """All that is told apart: sparse with nested values, split, dense matrices and vectors, a scalar, nothing, evil."""
    tensors = {
        "pruned.weight": pruned(rng, (96, 256), np.float32),
        "layer.10.weight": normal(rng, (256, 128), np.dtype(ml_dtypes.bfloat16)),
        "layer.9.weight": normal(rng, (128, 512), np.dtype(np.float32)),
        "layer.9.bias": normal(rng, (128,), np.dtype(np.float32)),
        "table": rng.integers(-128, 128, (40, 40)).astype(np.int8),
        "scalar": np.array(1.5, np.float32),
        "nothing": np.zeros((0, 7), np.float32),
        EVIL: normal(rng, (64, 64), np.dtype(np.float32)),
    }
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    tersely.compress(tmp_path / "model.safetensors", objective="size", profile="portable")
    return tmp_path / "model.tersely.safetensors"


def test_every_byte_is_somewhere(packed: Path) -> None:
    summary = gather(packed)
    assert sum(summary.components.values()) + summary.header_bytes == packed.stat().st_size
    assert sum(group.bytes_after for group in summary.groups) + summary.header_bytes == packed.stat().st_size
    assert {group.formulation for group in summary.groups} >= {"dense", "split", "sparse"}
    for tensor in summary.file.tensors:
        assert tensor.anatomy.nbytes == tensor.bytes_after
    nested = [path for path, _, _ in summary.components if path.startswith("sparse values: ")]
    assert nested


def test_times_are_the_planners(packed: Path) -> None:
    from tersely.files import plan_file

    plan = plan_file.make_plan(packed.with_name("model.safetensors"), objective="size", profile="portable")
    known = 0
    for tensor in gather(packed).file.tensors:
        entry = plan["tensors"][tensor.name]
        if tensor.predicted_us is not None and "predicted_us" in entry and tensor.formulation == entry["formulation"]:
            assert tensor.predicted_us == pytest.approx(entry["predicted_us"], abs=0.2), tensor.name
            known += 1
        if len(tensor.shape) < 2:
            assert tensor.predicted_us is None
    assert known >= 3


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int8])
@pytest.mark.parametrize("shape", [(96, 256), (47, 70), (16, 17, 3, 3)])
def test_what_is_stored_tells_the_work_that_was_planned(
    rng: np.random.Generator, dtype: type, shape: tuple[int, ...]
) -> None:
    full = (rng.standard_normal(shape) * (8 if dtype is np.int8 else 0.05)).astype(dtype)
    few = full.reshape(-1)[:12][rng.integers(0, 12, shape)]
    holes = np.where(rng.random(shape) < 0.8, np.zeros(1, dtype), full)
    blocky = np.repeat(full[:8], shape[0] // 8 + 1, axis=0)[: shape[0]].copy()
    blocky[16:32] = 0
    seen = set()
    shared = rng.choice(full.reshape(-1)[:5], size=shape, p=(0.8, 0.05, 0.05, 0.05, 0.05))
    rows = 1 + np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    scaled = (rng.integers(-7, 8, shape) * (rows * 0.01).astype(np.float32)).astype(dtype)
    channels = full.copy()
    channels[:, ::3] = 0
    masked = full * (rng.random(shape) < 0.2).astype(dtype)  # zeros of either sign
    for array in (full, few, holes, blocky, shared, scaled, channels, masked):
        words = np.ascontiguousarray(array).view(f"u{array.itemsize}")
        for objective in plan.OBJECTIVES:
            for one in plan.candidates(Request(words, array.dtype.name, objective=objective)):
                geometry = one.geometry
                view = (geometry.view, geometry.orientation, geometry.column_order)
                encoded = Encoded(array.shape, array.dtype.name, *view, one.node, one.components(1))
                told = registry.work(encoded)
                assert told is not None, one.kernel
                assert (told.kernel, told.nbytes) == (one.kernel, one.nbytes)
                if str(one.kernel) != "dense":
                    assert (told.padded_weights, told.entries) == (one.padded_weights, one.entries), one.kernel
                seen.add(one.node.formulation)
    assert seen == {row.NAME for row in registry.ROWS if full.dtype.name in row.DTYPES}


def test_a_formulation_that_tells_no_work_has_no_time(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.BY_NAME["split"], "work", lambda part: None)
    summary = gather(packed)
    times = {tensor.formulation: tensor.predicted_us for tensor in summary.file.tensors if len(tensor.shape) > 1}
    assert times["split"] is None
    assert times["sparse"] is not None
    assert '<td data-value="">-</td>' in page(summary)


def test_a_tree_of_nodes_takes_its_components_apart() -> None:
    tree = {
        "formulation": "sparse",
        "parameters": {"positions": "bitmap"},
        "children": {
            "values": {"formulation": "split", "parameters": {"code": "layered", "widths": [2, 2]},
                       "children": {"deep": {"formulation": "dense"}}}
        },
    }  # fmt: skip
    components = {"info": 7, "masks": 10, "values.tiles": 20, "values.deep.bytes": 5, "directory": 1}
    root = sizes(tree, components)
    assert root.nbytes == 43
    assert list(root.components.items()) == [("masks", 10), ("directory", 1), ("info", 7)]
    (values,) = root.children
    assert (values.label, values.nbytes, dict(values.components)) == ("split layered(2,2)", 25, {"tiles": 20})
    assert values.children[0].walk() == [("dense", "dense", "bytes", 5)]
    assert root.walk()[-1] == ("sparse values: split deep: dense", "dense", "bytes", 5)


def test_the_page_holds_nothing_from_elsewhere_and_no_markup_of_a_file(packed: Path) -> None:
    text = page(gather(packed))
    assert not re.search(r"(https?:|//[a-z]|@import|url\()", text)
    assert EVIL not in text
    assert unescape(text).count(EVIL) >= 1
    assert text.count("<script") == 1
    assert "<img" not in text
    assert page(gather(packed)) == text


def tersely_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tersely.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_writes_a_page_and_speaks_json(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    assert tersely_command("report", packed, "-o", out).returncode == 0
    assert out.read_text().startswith("<!doctype html>")
    again = tersely_command("report", packed, "-o", out)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "exists" in again.stderr
    document = json.loads(tersely_command("report", packed, "-o", out, "--force", "--json").stdout)
    assert document["bytes_after"] == packed.stat().st_size
    assert sum(one["bytes"] for one in document["components"]) + document["header_bytes"] == packed.stat().st_size
    values = next(one for one in document["tensors"] if one["name"] == "pruned.weight")["parts"]["children"]["values"]
    assert values["bytes"] == sum(values["components"].values())
    assert tersely_command("report", packed, "-o", tmp_path / "none/out.html").returncode == 1
    assert tersely_command("report", tmp_path / "none").returncode == 1


def test_inspect_shows_the_nesting(packed: Path) -> None:
    shown = tersely_command("inspect", packed, "--tree").stdout
    block = shown[shown.index("pruned.weight") :]
    lines = block.splitlines()
    values = next(line for line in lines if "values: " in line)
    below = lines[lines.index(values) + 1]
    assert "bits/weight" in values
    assert re.search(r"values: \w+", values)
    assert len(below) - len(below.lstrip("│├└─ ")) > len(values) - len(values.lstrip("│├└─ "))
    assert "header" in lines[-3]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by the package playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright: make test installs it")
    path = os.environ.get("TERSELY_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}, or TERSELY_BROWSER=PATH")
    with api.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        started = driver.chromium.launch(executable_path=path, args=options)
        yield started
        started.close()


class Shown:
    """A page in a browser; complaints: what it wrote to its console, errors, requests for anything but itself."""

    def __init__(self, browser: Any, path: Path, scheme: str = "light", width: int = 1300) -> None:
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._requested)
        self.uri = path.as_uri()
        self.page.goto(self.uri)

    def _requested(self, request: Any) -> None:
        if request.url != self.uri and not request.url.startswith("data:"):
            self.complaints.append(f"request: {request.url}")

    def names(self) -> list[str]:
        script = "bodies => bodies.filter(b => !b.hidden).map(b => b.querySelector('.name').textContent)"
        return list(self.page.eval_on_selector_all(".tensors tbody", script))

    def click(self, title: str) -> str:
        self.page.locator("th button", has_text=re.compile(rf"^{re.escape(title)}$")).click()
        head = self.page.locator("th", has=self.page.locator("button", has_text=re.compile(rf"^{re.escape(title)}$")))
        return str(head.get_attribute("aria-sort"))

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert not self.complaints, self.complaints


def write(path: Path, packed: Path) -> Path:
    path.write_text(page(gather(packed)), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_sorts_filters_and_unfolds(browser: Any, packed: Path, tmp_path: Path, scheme: str) -> None:
    tensors = {tensor.name: tensor for tensor in tersely.inspect(packed).tensors}
    with Shown(browser, write(tmp_path / "r.html", packed), scheme) as shown:
        in_file = list(tensors)
        assert shown.names() == in_file
        assert shown.click("after") == "descending"
        assert shown.names() == sorted(tensors, key=lambda name: (-tensors[name].bytes_after, in_file.index(name)))
        assert shown.click("after") == "ascending"
        assert shown.names() == sorted(tensors, key=lambda name: (tensors[name].bytes_after, in_file.index(name)))
        assert shown.click("after") == "none"
        assert shown.names() == in_file
        shown.click("bits/weight")
        assert shown.names()[-1] == "nothing"  # without a value: last, whatever the direction
        shown.click("bits/weight")
        assert shown.names()[-1] == "nothing"
        assert shown.click("tensor") == "ascending"
        ordered = shown.names()
        assert ordered.index("layer.9.weight") < ordered.index("layer.10.weight")  # as people count
        shown.page.fill("input[type=search]", "layer. weight")
        assert sorted(shown.names()) == ["layer.10.weight", "layer.9.weight"]
        assert shown.page.inner_text(".tools output") == f"2 of {len(tensors)} tensors"
        shown.page.fill("input[type=search]", "")
        more = shown.page.locator("tbody", has_text="pruned.weight").locator(".more")
        assert not more.is_visible()
        shown.page.locator("button.name", has_text="pruned.weight").click()
        assert more.is_visible()
        assert "values:" in more.inner_text()
        before = shown.page.locator(".tensors .bar div").first.bounding_box()["width"]
        shown.page.check("input[value=bytes]")
        assert shown.page.locator(".tensors .bar div").first.bounding_box()["width"] != before
        dark = "[...getComputedStyle(document.body).backgroundColor.matchAll(/\\d+/g)][0][0] < 100"
        assert shown.page.evaluate(dark) is (scheme == "dark")


def test_bars_are_as_long_as_their_bytes(browser: Any, packed: Path, tmp_path: Path) -> None:
    tensor = next(one for one in tersely.inspect(packed).tensors if one.name == "pruned.weight")
    with Shown(browser, write(tmp_path / "r.html", packed)) as shown:
        bar = shown.page.locator("tbody", has_text="pruned.weight").locator(".bar")
        whole = bar.bounding_box()["width"]
        segments = [one.bounding_box()["width"] for one in bar.locator("i").all()]
        assert sum(segments) == pytest.approx(whole * tensor.bytes_after / tensor.bytes_before, abs=1.5)
        counts = [count for _, _, _, count in tensor.anatomy.walk()]
        assert len(segments) == len(counts)
        for width, count in zip(sorted(segments), sorted(counts), strict=True):
            assert width == pytest.approx(whole * count / tensor.bytes_before, abs=1)
        assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_component_has_one_colour_everywhere(browser: Any, packed: Path, tmp_path: Path) -> None:
    with Shown(browser, write(tmp_path / "r.html", packed)) as shown:
        script = """all => Object.groupBy(all.map(i => [i.title.replace(/: [^:]*$/, "").split(": ").pop() || i.parentElement.innerText, getComputedStyle(i).background]),
            pair => pair[0])"""
        colours = {
            name: {colour for _, colour in pairs}
            for name, pairs in shown.page.eval_on_selector_all(".bar i", script).items()
        }
        assert {"split tiles", "sparse upper", "dense bytes"} <= set(colours)
        assert all(len(found) == 1 for found in colours.values()), colours
        strongest = [
            next(iter(colours[name])) for name in ("split tiles", "sparse upper", "dense bytes", "split directory")
        ]
        assert len(set(strongest)) == 4


def test_five_hundred_layers_and_a_narrow_window(browser: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    tensors = {
        f"model.layers.{k}.weight": normal(rng, (16 + k % 7, 64), np.dtype(ml_dtypes.bfloat16)) for k in range(500)
    }
    safetensors.numpy.save_file(tensors, tmp_path / "many.safetensors")
    tersely.compress(tmp_path / "many.safetensors", objective="size")
    path = write(tmp_path / "r.html", tmp_path / "many.tersely.safetensors")
    assert path.stat().st_size < 2_000_000
    with Shown(browser, path, width=420) as shown:
        assert len(shown.names()) == 500
        shown.click("before")
        shown.page.set_viewport_size({"width": 1300, "height": 900})
        shown.page.evaluate("scrollTo(0, 9000)")
        assert shown.page.locator(".tensors thead th").first.bounding_box()["y"] >= -1  # stays in sight
        sizes = shown.page.eval_on_selector_all(
            ".tensors tbody", "bodies => bodies.map(b => +b.rows[0].cells[3].dataset.value)"
        )
        assert sizes == sorted(sizes, reverse=True)
        assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_page_without_its_script_is_readable(browser: Any, packed: Path, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(write(tmp_path / "r.html", packed).as_uri())
    assert "pruned.weight" in shown.inner_text(".tensors")
    assert "smaller" in shown.inner_text(".cards")
    context.close()


def test_a_hostile_file_brings_no_script_of_its_own(browser: Any, tmp_path: Path) -> None:
    """An unknown formulation cannot be stored and shown, but names can be anything: the policy holds even if they got in."""
    text = page(gather(_plain(tmp_path)))
    path = tmp_path / "r.html"
    path.write_text(text.replace("</main>", '<script>document.title = "owned"</script></main>'), encoding="utf-8")
    shown = browser.new_context().new_page()
    shown.goto(path.as_uri())
    assert shown.title() != "owned"
    shown.context.close()


def _plain(folder: Path) -> Path:
    safetensors.numpy.save_file({"w": np.ones((4, 4), np.float32)}, folder / "w.safetensors")
    return folder / "w.safetensors"

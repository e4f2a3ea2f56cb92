"""The evidence: units that crash, hang or answer wrongly are rows that say so; the page is what the record says."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.evidence import __main__ as program
from benchmarks.evidence import claims, isolate, kernels, networks, page, states
from benchmarks.evidence.rows import PAPER, coded, runs
from benchmarks.protocol import Protocol
from support.arrays import MODELS

ROOT = Path(page.__file__).parents[2]
RECORDS = sorted((ROOT / "benchmarks" / "records").glob("*_evidence.json"))


def _unit_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, limit: float = 60) -> dict[str, Any]:
    """What comes of a unit whose module does that."""
    folder = tmp_path / "benchmarks_evidence"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys, types\n"
        "module = types.ModuleType('benchmarks.evidence.strange')\n"
        f"exec({body!r}, module.__dict__)\n"
        "sys.modules['benchmarks.evidence.strange'] = module\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.chdir(ROOT)
    return isolate.run({"kind": "strange"}, limit)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("def measure(unit):\n import os\n os.abort()", "crashed: SIGABRT"),
        ("def measure(unit):\n import time\n time.sleep(60)", "took more than 3 s"),
        ("def measure(unit):\n raise ValueError('no such form')", "ValueError: no such form"),
        (
            "def measure(unit):\n raise ModuleNotFoundError('No module named rival')",
            "is not installed: No module named rival",
        ),
        ("def measure(unit):\n import os\n os._exit(3)", "ended with status 3"),
        ("def measure(unit):\n raise MemoryError", "out of memory"),
    ],
)
def test_a_rival_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, why: str) -> None:
    assert why in _unit_that(monkeypatch, tmp_path, body, 3)["failed"]


def test_what_rivals_print_is_no_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    body = "def measure(unit):\n import os\n print('noise')\n os.system('echo more')\n return {'bytes': 3}"
    assert _unit_that(monkeypatch, tmp_path, body) == {"bytes": 3}


def test_a_wrong_round_trip_is_disqualified(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.evidence import coding

    class Wrong:
        def encode(self, array: np.ndarray) -> Any:
            return coding.Stored(array, 1, array.shape, array.dtype)

        def decode(self, stored: Any) -> Any:
            return np.zeros_like(stored.data)

    given = coding.arrangements.Arrangement((np.ones((3, 4), np.float32),))
    with pytest.raises(isolate.DisqualifiedError, match=r"shape \[3, 4\], float32 does not come back"):
        coding._peer("wrong", Wrong(), given)  # type: ignore[arg-type]


def test_a_run_that_was_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = program.told(quick=True)
    work = list(program.units(cases, None, Protocol(), []))[:5]
    asked: list[str] = []

    def done(unit: dict[str, Any], limit: float) -> dict[str, Any]:
        asked.append(program.key_of(unit))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"ms": {}}

    monkeypatch.setattr(isolate, "run", done)
    found: dict[str, Any] = {"units": {}, "commit": "a"}
    with pytest.raises(KeyboardInterrupt):
        program.run(work, found, lambda: None, [], 1e9)
    assert len(found["units"]) == 2
    program.run(work, found, lambda: None, [], 1e9)
    assert len(found["units"]) == 5
    assert sorted(asked) == sorted([*found["units"], asked[2]])


def _coders_of_two_rows() -> list[tuple[dict[str, Any], float]]:
    units = program.units(program.told(quick=True), None, Protocol(), [])
    coding = [(unit, limit) for unit, limit in units if unit["kind"] == "coding"]
    rows = list(dict.fromkeys(program._row(unit) for unit, _ in coding))[:2]
    return [one for one in coding if program._row(one[0]) in rows]


def test_coders_of_one_row_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    work = _coders_of_two_rows()
    both, files = threading.Barrier(2, timeout=30), set()

    def done(unit: dict[str, Any], limit: float) -> dict[str, Any]:
        files.add(unit["file"])
        if unit["kind"] == "coding" and unit["coder"] in ("zstd", "xz"):
            both.wait()  # neither of two goes on before the other runs
        return {"bytes": 1}

    monkeypatch.setattr(isolate, "run", done)
    some = [(unit, limit) for unit, limit in work if unit["coder"] in ("zstd", "xz")]
    found: dict[str, Any] = {"units": {}, "commit": "a"}
    program.run(some, found, lambda: None, [], 1e9, jobs=2)
    assert sorted(found["units"]) == sorted(program.key_of(unit) for unit, _ in some)
    assert {one["jobs"] for one in found["units"].values()} == {2}
    assert len(files) == 1  # the row before is over when its file is written again


def test_a_row_without_tensors_says_so_for_each_coder(monkeypatch: pytest.MonkeyPatch) -> None:
    work, asked = _coders_of_two_rows(), []

    def missing(unit: dict[str, Any], limit: float) -> dict[str, Any]:
        asked.append(unit["kind"])
        return {"failed": "MissingError: x.safetensors is not there"}

    monkeypatch.setattr(isolate, "run", missing)
    found: dict[str, Any] = {"units": {}, "commit": "a"}
    program.run(work, found, lambda: None, [], 1e9, jobs=2)
    assert len(found["units"]) == len(work)
    assert asked == ["sampling", "sampling"]
    assert all("MissingError" in one["failed"] for one in found["units"].values())


def test_a_row_that_is_measured_otherwise_takes_the_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "run", lambda unit, limit: {"ms": {"tersely balanced": unit["seconds"]}})
    found: dict[str, Any] = {"units": {}, "commit": "a"}
    for quick, seconds in ((True, 0.4), (False, 1.0)):
        work = list(program.units(program.told(quick), None, Protocol(seconds=seconds), []))
        program.run(work, found, lambda: None, ["running: resnet50, float32 batch 1"], 1e9)
    (only,) = found["units"].values()
    assert only["ms"] == {"tersely balanced": 1.0}


def test_units_are_distinct_and_say_what_they_are() -> None:
    for quick in (False, True):
        work = list(program.units(program.told(quick), None, Protocol(), []))
        assert len({program.key_of(unit) for unit, _ in work}) == len(work) > 50
        assert all(unit["kind"] in isolate.KINDS and limit > 0 for unit, limit in work)
        elsewhere = program.units(program.told(quick), Path("/elsewhere"), Protocol(), [])
        assert [program.key_of(unit) for unit, _ in elsewhere] == [program.key_of(unit) for unit, _ in work]


def test_states_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    tensors = {"weight": rng.standard_normal((64, 96)).astype(np.float32), "bias": np.ones(64, np.float32)}
    told = program.told(quick=False)["states"]
    made = {name: states.made(tensors, step) for name, step in told.items()}
    for one in made.values():
        assert one["weight"].shape == (64, 96)
    assert all(np.array_equal(made[name]["bias"], tensors["bias"]) for name in made if name != "bfloat16")
    groups = (made["2 of 4 pruned"]["weight"].reshape(-1, 4) != 0).sum(1)
    assert (groups == 2).all()
    rows = (made["half of the channels pruned"]["weight"] != 0).any(1)
    assert rows.sum() == 32
    assert len(np.unique(made["4-bit k-means"]["weight"])) <= 16
    assert set(np.unique(made["4-bit groups"]["weight"])) <= set(range(-8, 8))
    both = made["Deep Compression: 80 % pruned, 5-bit k-means"]["weight"]
    assert len(np.unique(both)) <= 33
    assert abs((both == 0).mean() - 0.8) < 0.02


def test_samples_are_spread_over_a_network() -> None:
    if MODELS is None:
        pytest.skip("there are no real models here")
    source = {"real": "cifar10-resnet56-fp32"}
    whole = networks.sample("resnet56", source, MODELS, 1 << 30)
    part = networks.sample("resnet56", source, MODELS, 400_000)
    assert sum(one.nbytes for one in part.values()) <= 400_000
    places = [list(whole).index(name) / len(whole) for name in part]
    assert min(places) < 0.1
    assert max(places) > 0.9
    assert all(np.array_equal(array, whole[name][: len(array)]) for name, array in part.items() if array.ndim)


def _record(ratio: float, smaller: float, rival: float) -> dict[str, Any]:
    base = {"commit": "a", "seconds": 1.0}
    running = {
        "unit": {"kind": "running", "network": "vgg16", "state": "float32", "batch": 1},
        "ms": {"tersely balanced": 10.0, "tersely speed": 9.5, "tersely dense": 11.0, "OpenVINO": 10.0 * ratio},
        "smaller": {"balanced": smaller, "speed": 1.1}, "busy": "", "error": {}, "left_out": {"MNN": "is not installed: MNN"},
    }  # fmt: skip
    coding = [
        {"unit": {"kind": "coding", "network": "vgg16", "state": "float32", "coder": coder}, "original_bytes": 1200,
         "order_0_bytes": 1000.0, "bytes": nbytes, "encode_mb_per_s": 1.0, "decode_mb_per_s": 2.0}
        for coder, nbytes in (("tersely max", 1000), ("zpaq", int(1000 * rival)))
    ]  # fmt: skip
    crashed = {
        "unit": {"kind": "coding", "network": "vgg16", "state": "float32", "coder": "openzl"},
        "failed": "crashed: SIGSEGV",
    }
    units = {
        str(number): base | {"kernels": kernels.digest(one["unit"]["kind"])} | one  # type: ignore[index]
        for number, one in enumerate([running, *coding, crashed])
    }
    machine = {"model": "Zen", "isa": "avx2"}
    return {
        "units": units,
        "quick": True,
        "machine": machine,
        "versions": {},
        "protocol": {"threads": 2},
        "commit": "a",
    }


def test_claims_are_won_or_lost_by_the_figures() -> None:
    won = {one.sentence: one.won for one in claims.claims(_record(1.2, 1.18, 1.01))}
    lost = {one.sentence: one.won for one in claims.claims(_record(1.05, 1.18, 0.99))}
    vgg = next(sentence for sentence in won if "VGG-16" in sentence)
    coding = next(sentence for sentence in won if "model coding" in sentence)
    assert (won[vgg], won[coding], lost[vgg], lost[coding]) == (True, True, False, False)
    assert {one.won for one in claims.claims(_record(1.2, 1.1, 1)) if "VGG-16" in one.sentence} == {False}
    assert None in won.values()


def _narrow(ratio: float, smaller: float, without: str = "") -> dict[str, Any]:
    """A record of networks with AVX2."""
    found = _record(1.2, 1.18, 1.01)
    for network in sorted({*PAPER} - {without}):
        found["units"][network] = {
            "unit": {"kind": "narrow", "network": network, "state": "float32", "batch": 1}, "busy": "", "error": {},
            "ms": {"tersely balanced": 1.0, "OpenVINO": ratio}, "smaller": {"balanced": smaller}, "commit": "a",
            "kernels": kernels.digest("narrow"),
        }  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("record", "won"),
    [
        (_narrow(1.08, 1.131), True),
        (_narrow(1.08, 1.129), False),
        (_narrow(1.06, 1.131), False),
        (_narrow(1.08, 1.2, without="deit_b"), None),
        (_record(1, 1, 1), None),
    ],
)
def test_avx2_is_judged_by_all_five_networks(record: dict[str, Any], won: bool | None) -> None:
    assert [one.won for one in claims.claims(record) if "AVX2" in one.sentence] == [won]


def test_what_is_lost_or_missing_with_avx2_is_told() -> None:
    found = _narrow(0.9, 1.2)
    found["units"]["vgg16"]["left_out"] = {"PyTorch": "is not installed: torch"}
    assert "VGG-16, float32, batch 1 with AVX2: 0.90 x OpenVINO" in [row for row, _ in claims.losses(found)]
    assert "PyTorch: is not installed: torch (VGG-16, float32, batch 1 with AVX2)" in page.text(
        found, {"networks": "a.svg", "coders": "b.svg"}
    )


def _with_product(**figures: tuple[float, float]) -> dict[str, Any]:
    """A record of one pruned row: bytes and milliseconds of dense weights, of ours and of rivals."""
    nbytes, ms = ({_ours(name): one[k] for name, one in figures.items()} for k in (0, 1))
    found = _record(1.2, 1.18, 1.01)
    found["units"]["product"] = {
        "unit": {"kind": "products", "network": "vgg16", "state": "80 % pruned"}, "bytes": nbytes, "ms": ms, "busy": "",
        "shape": [64, 64], "commit": "a", "kernels": kernels.digest("products"), "left_out": {},
    }  # fmt: skip
    return found


def _ours(name: str) -> str:
    return f"tersely {name}" if name in ("balanced", "size") else name


@pytest.mark.parametrize(
    ("rival", "every", "dominated"),
    [
        ((60, 3.0), True, True),  # larger and slower than `balanced`
        ((30, 9.5), True, True),  # as small as `size` may be, and slower
        ((60, 0.9), False, True),  # larger, and faster than both
        ((20, 9.5), False, True),  # smaller than both, and slower
        ((49, 0.9), False, False),  # smaller and faster than `balanced`
        ((49.9, 1.1), True, True),  # as small as `balanced` but for a directory
    ],
)
def test_products_are_won_by_being_as_small_and_as_fast(
    rival: tuple[float, float], every: bool, dominated: bool
) -> None:
    found = _with_product(dense=(200, 2.0), balanced=(50, 1.0), size=(30, 9.0), csr=rival)
    won = {one.sentence: one.won for one in claims.claims(found) if "coded form" in one.sentence}
    assert list(won.values()) == [every, dominated]
    lost = [row for row, kind in claims.losses(found) if kind == "product csr"]
    assert len(lost) == (not every)
    assert all("in 1 of 1 rows" in row and f"{rival[0] / 50:.2f} times the bytes" in row for row in lost)


def test_figures_depend_on_the_kernels_they_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network, code = tmp_path / "backends/cpu/network/step.cpp", tmp_path / "codes/fields.cpp"
    monkeypatch.setattr(kernels, "SOURCES", tmp_path)
    found = []
    for changed in (None, network, code):
        for path in (network, code):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("changed" if path == changed else "as it was")
        kernels.digest.cache_clear()
        found.append([kernels.digest(kind) for kind in ("running", "coding")])
    kernels.digest.cache_clear()
    before, networks_changed, codes_changed = found
    assert networks_changed[0] != before[0]
    assert networks_changed[1] == before[1]
    assert all(one != other for one, other in zip(before, codes_changed, strict=True))


def test_what_ran_from_a_file_and_was_left_out_is_named() -> None:
    found = _record(1.2, 1.18, 1.01)
    found["units"]["0"] |= {
        "cold": {"OpenVINO": {"first_ms": 9.0, "most_mb": 80.0, "before_mb": 40.0, "file_mb": 12.5}},
        "cold_left_out": {"MNN": "disqualified: its answer differs by 1.7e-02 of the largest"},
        "weight_bytes": {"dense": 2_000_000, "balanced": 1_500_000},
        "error": {"tersely balanced": 1e-6, "OpenVINO": 2e-6},
    }
    text = page.text(found, {"networks": "a.svg", "coders": "b.svg", "layers": "c.svg"})
    assert "9 ms, 80 MB (40); 12.5 MB on disk" in text
    assert (
        "MNN from a file: disqualified: its answer differs by so much of the largest (VGG-16, float32, batch 1, 1.7e-02)"
        in text
    )
    assert "| 2.0 | 1.5 |  | 1e-06 | OpenVINO 2e-06 |" in text


def test_the_page_marks_what_is_lost_and_missing() -> None:
    pictures = {"networks": "a.svg", "coders": "b.svg", "layers": "c.svg"}
    good = page.text(_record(1.2, 1.18, 1.01), pictures)
    bad = page.text(_record(0.9, 1.18, 0.99), pictures)
    assert "Nowhere in this record" in good
    assert "0.90 x" in bad
    assert "Nowhere in this record" not in bad
    assert "openzl: crashed: SIGSEGV" in good
    assert "MNN: is not installed" in good
    assert "kernels have changed" not in good
    changed = _record(1.2, 1.18, 1.01)
    changed["units"]["0"]["kernels"] = "of before"
    assert "kernels have changed since 1 of its 4 figures" in page.text(changed, pictures)


def test_rows_of_a_record() -> None:
    record = _record(1.2, 1.18, 1.01)
    (run,) = runs(record)
    assert run.fastest == "OpenVINO"
    assert run.ratio() == pytest.approx(1.2)
    assert run.against_dense == pytest.approx(1.1)
    (row,) = coded(record)
    assert row.failed == {"openzl": "crashed: SIGSEGV"}
    assert row.best_rival() == "zpaq"


@pytest.mark.skipif(not RECORDS, reason="nothing is recorded yet")
def test_the_page_is_what_the_record_says() -> None:
    newest = max(RECORDS, key=lambda path: path.stat().st_mtime)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.evidence.page", str(newest), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr

"""The benchmark programs, on matrices of a minute: cases can be made, answers are compared, peers give bits back."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tersely.backends.cpu import busy, native

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not native.available(), reason="needs the native module")


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of `benchmarks`, which is no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_runs_take_turns_and_the_median_counts(programs: Any) -> None:
    protocol = programs("protocol")
    calls: list[str] = []
    ticks = iter(range(10**6))
    plan = protocol.Protocol(threads=1, seconds=0, minimum_rounds=4, tries=1, clock=lambda: next(ticks) / 1e3)
    runs = {name: lambda k, name=name: calls.append(name) for name in ("a", "b")}
    times = protocol.measure(runs, plan)
    assert "".join(calls) == "abab" + "ab" + "ba" + "ab" + "ba", "two rounds of warming up, then every other one turned"
    assert times.rounds == 4
    assert times.median_ms == pytest.approx({"a": 1, "b": 1})


def test_a_run_with_a_clock_of_its_own_is_believed(programs: Any) -> None:
    protocol = programs("protocol")
    numbers = iter((9.0, 9.0, 3.0, 1.0, 2.0))
    plan = protocol.Protocol(threads=1, seconds=0, minimum_rounds=3, tries=1)
    times = protocol.measure({"a": lambda k: protocol.Took(next(numbers))}, plan)
    assert (times.median_ms["a"], times.least_ms["a"]) == (2.0, 1.0)


def test_a_busy_machine_is_tried_again_then_marked_or_refused(programs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = programs("protocol")
    said = iter(("a neighbour", "", "a", "b", "c", "d", "e", "f"))
    monkeypatch.setattr(busy.Watch, "troubles", lambda self, threads: next(said))
    plan = protocol.Protocol(threads=1, seconds=0, minimum_rounds=1)
    assert protocol.measure({"a": lambda k: None}, plan).busy == ""
    assert protocol.measure({"a": lambda k: None}, plan).busy == "c", "the third try counts"
    with pytest.raises(SystemExit, match="busy, nothing is recorded: f"):
        protocol.measure({"a": lambda k: None}, protocol.replace(plan, refuse_busy=True))


def test_every_case_can_be_made_and_stored_in_its_forms(programs: Any) -> None:
    cases, products = programs("cases"), programs("products")
    labels = set()
    for case in cases.cases():
        array = case.array((32, 256))
        assert array.dtype.name == case.dtype
        for label, tensor in products.forms_of(case, array).items():
            assert tensor.decode().tobytes() == array.tobytes(), (case.what, label)
        labels.add((case.group, case.what))
    assert len(labels) == len(list(cases.cases())), "two cases of one name"
    assert {group for group, _ in labels} == set(cases.groups())


def test_a_wrong_product_is_not_timed(programs: Any) -> None:
    products = programs("products")
    exact = np.ones((1, 4))
    products.check(exact.astype(np.float32), exact, "right")
    with pytest.raises(SystemExit, match="wrong: the product is wrong; nothing was timed"):
        products.check(np.float32(1.01) * exact.astype(np.float32), exact, "wrong")


def test_peers_give_every_bit_back_and_multiply(programs: Any) -> None:
    peers, cases = programs("peers"), programs("cases")
    x = np.ones((1, 256), np.float32)
    for name, peer in peers.installed(peers.PRODUCTS + peers.CODECS).items():
        array = np.abs(cases.pruned((32, 256), 0.5))  # sparse rows keep no -0.0
        stored = peer.encode(array)
        assert peers.same_bits(peer, stored, array), name
        assert stored.nbytes > 0
        product = peer.product(stored, x)
        assert (product is None) == (name in peers.CODECS), name
        if product is not None:
            assert np.allclose(np.asarray(product()).reshape(-1), array.sum(axis=1), rtol=1e-4), name


def test_a_program_writes_a_record(programs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    products, path = programs("products"), tmp_path / "record.json"
    monkeypatch.setattr("tersely.backends.cpu.threads._chosen", None)  # what the program chooses ends with the test
    words = ["products", "--group", "integers", "--only", "sigma 10", "--quick", "--shape", "64", "256"]
    monkeypatch.setattr(
        sys, "argv", [*words, "--seconds", "0", "--working-set", "0.01", "--threads", "1", "-o", str(path)]
    )
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    try:
        products.main()
    finally:
        if torch:
            torch.set_num_threads(before)
    found = json.loads(path.read_text())
    assert (found["kind"], found["protocol"]["threads"]) == ("integers", 1)
    assert [row["stored_as"] for row in found["rows"]] == ["integer fields", "integer distances"]
    assert all(row["x_dense"] == pytest.approx(row["dense_ms"] / row["ms"]) for row in found["rows"])


MACHINE = re.compile(
    r"\b(?:Zen \d|Zen,|Ice Lake|Emerald Rapids|AVX2|AVX-512)|\b[a-z_]+\.py (?:says|has)|\bas `?[A-Z]\w+_NS|\blike k[A-Z]"
)
RECORD = re.compile(r"\b[a-z0-9-]+_(?:avx2|avx512\w*)_[a-z]+\.json")


def test_what_was_measured_says_on_what() -> None:
    """A figure names a record that is there, or a machine; or the constant beside which these are said."""
    silent, marks = [], 0
    for path in sorted(path for path in (ROOT / "src").rglob("*") if path.suffix in (".py", ".cpp", ".hpp")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if "MEASURED" not in line or "MEASURED names" in line:
                continue
            marks += 1
            said = " ".join(one.strip() for one in lines[number : number + 4]).partition("MEASURED")[2]
            records = RECORD.findall(said)
            assert all((ROOT / "benchmarks/records" / record).is_file() for record in records), (path, records)
            if not records and not MACHINE.search(said):
                silent.append(f"{path.relative_to(ROOT)}:{number + 1}")
    assert marks > 30
    assert not silent


def test_a_network_is_opened_and_measured_in_a_process_of_its_own(tmp_path: Path, rng: np.random.Generator) -> None:
    """Which imports no framework: what a process takes is the engine's."""
    import subprocess

    from support.networks import pipeline_of, residual_network

    from tersely.graph import files

    pipeline = pipeline_of(*residual_network(rng), formulation="split")
    x = rng.standard_normal((1, 3, 32, 32)).astype(np.float32)
    files.save(pipeline, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", x)
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "benchmarks.cold",
        "tersely",
        tmp_path / "net.safetensors",
        "1",
    ]
    ran = subprocess.run([*command, tmp_path / "x.npy"], capture_output=True, text=True, cwd=ROOT, check=True)
    found = json.loads(ran.stdout)
    assert 0 < found["next_ms"] <= found["first_ms"]
    assert 0 < found["before_mb"] <= found["most_mb"]
    np.testing.assert_array_equal(np.load(tmp_path / "net.answer.npy"), pipeline.run(x)[0])
    assert not re.search(r"\| +(torch|onnxruntime|openvino|MNN)\b", ran.stderr)

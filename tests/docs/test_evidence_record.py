"""Records of the evidence: what fails is tried again and costs no figure; what is no record, or has no place, is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks.evidence import __main__ as program
from benchmarks.evidence import isolate, kept, networks, page, page_networks, plots
from benchmarks.protocol import Protocol

ROOT = Path(page.__file__).parents[2]
RECORDS = sorted((ROOT / "benchmarks" / "records").glob("*_evidence.json"))
TITLE = "products: minilm, float32"


def _work(quick: bool = True) -> list[tuple[dict[str, Any], float]]:
    return list(program.units(program.told(quick), None, Protocol(), []))


def _run(found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, result: dict[str, Any], quick: bool = True) -> None:
    monkeypatch.setattr(isolate, "run", lambda unit, limit: result)
    program.run(_work(quick), found, lambda: None, [TITLE], 1e9)


@pytest.mark.parametrize(
    ("why", "again"),
    [("is not installed: nncodec", True), ("took more than 3 s", True), ("takes none of the tensors", False)],
)
def test_what_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch, why: str, again: bool) -> None:
    found: dict[str, Any] = {"units": {}, "commit": "a"}
    _run(found, monkeypatch, {"failed": why})
    _run(found, monkeypatch, {"ms": {}})
    (one,) = found["units"].values()
    assert ("failed" not in one) == again


def test_a_failure_takes_no_figure_away(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {"units": {}, "commit": "a"}
    _run(found, monkeypatch, {"ms": {"dense": 1.0}}, quick=False)
    for one in found["units"].values():
        one["unit"]["seconds"] = 99  # of another run
    found["units"] = {"0": next(iter(found["units"].values()))}
    _run(found, monkeypatch, {"failed": "crashed: SIGSEGV"}, quick=False)
    assert [one.get("ms") for one in found["units"].values()] == [{"dense": 1.0}]


def test_nothing_that_is_selected_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no unit of work has all of these words in its title: resnet49, float32"):
        program.run(_work(), {"units": {}, "commit": "a"}, lambda: None, ["resnet49", "float32"], 1e9)


def _good() -> dict[str, Any]:
    product = {"ms": {"dense": 1.0, "tersely balanced": 0.5}, "bytes": {"dense": 4, "tersely balanced": 2}, "busy": ""}
    unit = {"unit": {"kind": "products", "network": "minilm", "state": "80 % pruned"}, "commit": "a", "kernels": "b"}
    return {
        "machine": {"model": "Zen", "isa": "avx2"}, "versions": {}, "protocol": {"threads": 2}, "commit": "a", "quick": True,
        "units": {"0123": unit | product | {"shape": [64, 64]}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (lambda good: "{", "cannot be read as a record"),
        (lambda good: "\xff", "cannot be read as a record"),
        (lambda good: "null", "is no record of the evidence"),
        (lambda good: "[]", "is no record of the evidence"),
        (lambda good: json.dumps({"machine": {}}), "lacks versions, protocol, commit, quick, units"),
        (lambda good: json.dumps(good | {"units": []}), "its units are no object"),
        (lambda good: json.dumps(good | {"units": {"0123": 3}}), "unit 0123 lacks unit, commit, kernels"),
        (lambda good: json.dumps(good).replace('"busy"', '"busier"'), "unit 0123 lacks busy"),
        (lambda good: json.dumps(good).replace('"network"', '"net"'), "unit 0123 lacks network"),
    ],
)
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, written: Any, said: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(written(_good()).encode("latin-1"))
    with pytest.raises(SystemExit, match=said) as error:
        kept.read(path)
    assert str(path) in str(error.value)


def test_a_whole_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(_good()))
    assert kept.read(path) == _good()
    for record in RECORDS:
        assert kept.read(record)["units"]


@pytest.mark.parametrize(("before", "now"), [(True, False), (False, True)])
def test_quick_figures_do_not_mix_with_others(tmp_path: Path, before: bool, now: bool) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(_good() | {"quick": before}))
    with pytest.raises(SystemExit, match="give -o a file of its own"):
        program._resumed(path, _good() | {"quick": now})


def test_the_record_of_another_machine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(_good()))
    with pytest.raises(SystemExit, match="is of another machine"):
        program._resumed(path, _good() | {"machine": {"model": "this"}})


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is a folder"):
        kept.check_place(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="cannot be written"):
        kept.check_place(tmp_path / "file" / "record.json")
    kept.check_place(tmp_path / "new" / "folder" / "record.json")
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
def test_a_full_disk_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("before")
    (tmp_path / "record.json.partial").symlink_to("/dev/full")
    with pytest.raises(SystemExit, match="cannot be written"):
        kept.save(_good(), path)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["record.json"]


def test_a_page_of_products_alone_has_no_tables_of_coders() -> None:
    found = _good()
    assert plots.of(found) == []
    text = page.text(found, {})
    assert "Products of coded matrices" in text
    assert "Coders of models" not in text
    assert "![" not in text


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "minilm-l6-v2-body-fp32.safetensors").write_bytes(
        b"\x10\0\0\0\0\0\0\0" + b'{"a": 3}        ' + b"\0" * 8
    )
    network = program.told(True)["networks"]["minilm"]
    with pytest.raises(ValueError, match="minilm-l6-v2-body-fp32.safetensors is damaged"):
        networks.sample("minilm", network, tmp_path, 1000)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--threads", "0"), "0 must be at least 1"),
        (("--jobs", "-1"), "-1 must be at least 1"),
        (("--seconds", "-1"), "-1 must not be below 0"),
        (("--minutes", "nan"), "nan must not be below 0"),
        (("--models", "/nonexistent"), "there is no such folder"),
    ],
)
def test_options_that_mean_nothing_are_refused(option: tuple[str, str], said: str) -> None:
    command = [sys.executable, "-m", "benchmarks.evidence", "--quick", "--only", "none such", *option]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_bounds_on_the_page_are_those_of_the_benchmark() -> None:
    pytest.importorskip("torch")
    from benchmarks import networks as whole

    assert (page_networks.BOUND, page_networks.COLD_BOUND) == (whole.BOUND, whole.COLD_BOUND)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_unit_ends_with_the_program_that_started_it(tmp_path: Path) -> None:
    """The parent is killed, and can end nothing itself."""
    started = tmp_path / "started"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, types\n"
        "module = types.ModuleType('benchmarks.evidence.strange')\n"
        f"exec('def measure(unit):\\n import os, time\\n open({str(started)!r}, \"w\").write(str(os.getpid()))\\n time.sleep(60)',"
        " module.__dict__)\n"
        "sys.modules['benchmarks.evidence.strange'] = module\n"
    )
    code = "from benchmarks.evidence import isolate; isolate.run({'kind': 'strange'}, 60)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
    try:
        child = _wait(lambda: int(started.read_text()) if started.is_file() and started.read_text() else 0)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert _wait(lambda: not _runs(child))
    finally:
        parent.kill()


def _wait(found: Any) -> Any:
    end = time.monotonic() + 30
    while not (value := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def _runs(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False

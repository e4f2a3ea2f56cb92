"""Processes that end early, that meet at one output, that must not show what is private; and what the environment asks."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support import onnx_files
from support.arrays import normal
from typer.testing import CliRunner

import tersely
from tersely.backends.cpu import isa
from tersely.cli.__main__ import app
from tersely.core import environment
from tersely.core.errors import ArgumentError, DestinationError
from tersely.files import folder as checkpoint
from tersely.files.container import temporary
from tersely.files.container.writer import Writer


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    """The usual one, under which new files are readable for all."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"w": normal(rng, (64, 256), np.dtype(np.float32))}, path)
    return path


SLOW = """
import signal, sys, time, tersely.cli.__main__ as cli
from tersely.files import commands
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs and nohup leave these ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
steps = iter(range(10))
class Slow(commands.Meter):
    def __call__(self, advance, name):
        print("step", flush=True)
        time.sleep(60)
commands.Meter = Slow
sys.argv = ["tersely", *sys.argv[1:]]
cli.main()
"""
"""A command that stops after its first tensor, in the middle of its work."""


def slowly(*arguments: object) -> subprocess.Popen[bytes]:
    """A command, as soon as it is in the middle of its work."""
    command = [sys.executable, "-c", SLOW, *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"step\n"
    return child


def test_a_command_that_is_asked_to_end_leaves_nothing_and_says_which_signal(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "m.safetensors").write_bytes(source.read_bytes())
    before = sorted(tmp_path.rglob("*"))
    children = [
        (slowly("compress", source), signal.SIGTERM, 143),
        (slowly("compress", folder), signal.SIGTERM, 143),
        (slowly("compress", source, "-o", tmp_path / "o.safetensors"), signal.SIGHUP, 129),
        (slowly("compress", source, "-o", tmp_path / "p.safetensors"), signal.SIGINT, 130),
    ]
    assert len(sorted(tmp_path.rglob("*"))) > len(before)
    for child, number, code in children:
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
        assert child.returncode == code, said
        assert b"Traceback" not in said
        if number != signal.SIGINT:
            assert said.startswith(f"tersely: ended by {signal.Signals(number).name}".encode())
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_killed_writer_left_is_swept_and_a_living_one_is_left_alone(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "m.safetensors").write_bytes(source.read_bytes())
    packed, out = tmp_path / "m.tersely.safetensors", tmp_path / "model-tersely"
    before = sorted(tmp_path.rglob("*"))
    killed = [slowly("compress", source), slowly("compress", folder)]
    for destination, words in ((packed, ("compress", source)), (out, ("compress", folder))):
        result = CliRunner().invoke(app, [*map(str, words)])  # they live: the second writer is refused
        assert isinstance(result.exception, DestinationError)
        assert str(destination) in str(result.exception)
        assert "another process is writing it" in str(result.exception)
    for child in killed:
        child.kill()
        child.communicate()
    left = set(tmp_path.rglob("*")) - set(before)
    assert {path.suffix for path in left} >= {".spool", ".partial"}
    tersely.compress(source)
    tersely.compress(folder)
    assert {path.name for path in set(tmp_path.iterdir()) - set(before)} == {packed.name, out.name}
    assert not list(out.rglob(".*"))
    assert tersely.verify(packed, source).ok


def test_a_sweep_takes_only_what_is_abandoned_and_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    ours = [tmp_path / f".a.safetensors.0123abcd.{kind}" for kind in ("spool", "partial")]
    other_spool = tmp_path / ".b.safetensors.0123abcd.spool"
    foreign = [
        tmp_path / name
        for name in (
            ".b.safetensors.0123abcd.partial",
            ".c.txt.0123abcd.spool",
            "a.safetensors.0123abcd.spool",
            ".a.spool",
        )
    ]
    for one in (*ours, other_spool, *foreign):
        one.write_bytes(temporary.SPOOL_MARK if one == other_spool else b"x" * 80)
    (tmp_path / ".a.safetensors.4567abcd.spool").symlink_to(foreign[0])
    (tmp_path / ".a.safetensors.89ababcd.partial").mkdir()
    with open(ours[1]) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert temporary.sweep(path) is True
        assert ours[1].exists()
    assert not ours[0].exists()
    assert not other_spool.exists()
    assert temporary.sweep(path) is False
    assert not ours[1].exists()
    assert all(one.exists() for one in foreign)


def test_of_two_writers_to_one_new_output_one_is_refused(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.safetensors"
    results: list[Any] = []
    both = threading.Barrier(2)

    def write(number: int) -> None:
        try:
            with temporary.atomic_file(target, replace=False) as (file, _):
                file.write(b"%d" % number)
                both.wait(20)  # both are at the end of their work
            results.append(number)
        except DestinationError as error:
            results.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (kept,) = [one for one in results if isinstance(one, int)]
    (refused,) = [one for one in results if isinstance(one, DestinationError)]
    assert "another process" in str(refused)
    assert target.read_bytes() == b"%d" % kept
    with Writer(tmp_path / "w.safetensors", replace=False), pytest.raises(DestinationError, match="another process"):
        Writer(tmp_path / "w.safetensors", replace=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors", "new.safetensors"]


def test_a_new_name_is_taken_without_second_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(temporary.os, "link", none)
    path = tmp_path / "x"
    with temporary.atomic_file(path, replace=False) as (file, _):
        file.write(b"first")
    with (
        pytest.raises(DestinationError, match="another process"),
        temporary.atomic_file(path, replace=False) as (file, _),
    ):
        file.write(b"second")
    assert path.read_bytes() == b"first"


def test_two_folders_of_one_name_do_not_meet(tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    with checkpoint.atomic_folder(tmp_path / "f", False, source) as first:
        (first / "x").write_text("first")
        with pytest.raises(DestinationError, match="another process"):
            checkpoint.atomic_folder(tmp_path / "f", False, source).__enter__()
        assert (first / "x").exists()
    assert (tmp_path / "f" / "x").read_text() == "first"
    (tmp_path / "f.partial").mkdir()  # of one that died
    (tmp_path / "f.partial" / "old").write_text("old")
    with checkpoint.atomic_folder(tmp_path / "f", True, source) as again:
        assert not list(again.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "s"]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("private", [0o600, 0o640, 0o400, 0o644, 0o666])
def test_nothing_made_from_a_file_is_readable_for_more_than_the_file(
    source: Path, tmp_path: Path, private: int
) -> None:
    seen: list[Path] = []
    source.chmod(private)
    expected = (private | 0o600) & ~0o022

    def look(*_: object) -> None:
        for path in tmp_path.iterdir():
            if path.suffix in (".spool", ".partial"):
                seen.append(path)
                assert mode(path) & ~expected == 0, path

    packed, back = tmp_path / "m.tersely.safetensors", tmp_path / "back.safetensors"
    tersely.compress(source, progress=look)
    tersely.decompress(packed, back, progress=look)
    CliRunner().invoke(app, ["plan", str(source), "-o", str(tmp_path / "plan.json")])
    CliRunner().invoke(app, ["report", str(source), "-o", str(tmp_path / "page.html")])
    assert {path.suffix for path in seen} == {".spool", ".partial"}
    for made in (packed, back, tmp_path / "plan.json", tmp_path / "page.html"):
        assert mode(made) == expected, made
    tensors = tersely.load_file(packed)
    tersely.save_file(tensors, tmp_path / "saved.safetensors")
    assert mode(tmp_path / "saved.safetensors") == 0o644  # made from memory: as any new file


@pytest.mark.usefixtures("umask")
def test_folders_are_as_private_as_their_sources(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    for place in (folder / "a.safetensors", folder / "inner" / "b.safetensors"):
        place.write_bytes(source.read_bytes())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    (folder / "open.txt").write_text("for all")
    wanted = {
        "a.safetensors": 0o600,
        "inner/b.safetensors": 0o640,
        "config.json": 0o600,
        "inner": 0o750,
        "open.txt": 0o644,
    }
    for name, bits in wanted.items():
        (folder / name).chmod(bits)
    during = []

    def look(*_: object) -> None:
        during.append(mode(next(path for path in tmp_path.iterdir() if path.suffix == ".partial")))

    tersely.compress(folder, progress=look)
    tersely.decompress(tmp_path / "model-tersely", tmp_path / "back", progress=look)
    assert set(during) == {0o700}
    for place in (tmp_path / "model-tersely", tmp_path / "back"):
        assert {name: mode(place / name) for name in wanted} == wanted
        assert mode(place) == 0o755
    for added in ("tersely.json", "README.md"):  # they tell of all files
        assert mode(tmp_path / "model-tersely" / added) == 0o600
    folder.chmod(0o700)
    tersely.compress(folder, force=True)
    assert mode(tmp_path / "model-tersely") == 0o700


@pytest.mark.usefixtures("umask")
def test_a_model_of_several_files_is_as_private_as_the_most_private(tmp_path: Path, rng: np.random.Generator) -> None:
    model = tmp_path / "m.onnx"
    data = normal(rng, (64, 64), np.dtype(np.float32))
    (tmp_path / "m.data").write_bytes(data.tobytes())
    outside = onnx_files.tensor("w", data.shape, 1, onnx_files.external("m.data"))
    model.write_bytes(onnx_files.model(onnx_files.graph(initializers=[outside])))
    (tmp_path / "m.data").chmod(0o600)
    tersely.compress(model)
    assert mode(tmp_path / "m.tersely.safetensors") == 0o600
    (tmp_path / "out").mkdir()
    tersely.decompress(tmp_path / "m.tersely.safetensors", tmp_path / "out" / "m.onnx")
    assert {mode(path) for path in (tmp_path / "out").iterdir()} == {0o600}


def test_a_group_of_strangers_gets_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source.chmod(0o660)
    assert temporary.mode_like([source]) == 0o660
    monkeypatch.setattr(temporary.os, "getegid", lambda: source.stat().st_gid + 1)
    assert temporary.mode_like([source]) == 0o600
    source.chmod(0o664)
    assert temporary.mode_like([source]) == 0o644
    assert temporary.mode_like([source / "gone"]) == 0o666


UNAVAILABLE = next((name for name in isa.NAMES if isa.reason_unavailable(name)), None)
WRONG = {
    "TERSELY_ISA": "avx9",
    "TERSELY_NATIVE": "off",
    "TERSELY_NUM_THREADS": "zero",
}


def begun(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tersely", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, text=True, env={**os.environ, **variables}, **pipes)  # type: ignore[call-overload, no-any-return]


def test_wrong_variables_stop_every_command_but_help_and_doctor(source: Path) -> None:
    refused = {name: begun("compress", source, **{name: text}) for name, text in WRONG.items()}
    helped, found = begun("--help", **WRONG), begun("doctor", "--json", **WRONG, TERSELY_TREADS="2")
    for variable, child in refused.items():
        out, said = child.communicate()
        assert (child.returncode, out) == (1, "")
        assert said.startswith(f"tersely: {variable}")
        assert said.count("\n") == 1
    assert helped.communicate()[0].startswith("Usage: tersely ")
    assert helped.returncode == 0
    report = json.loads(found.communicate()[0])
    assert found.returncode == 1
    assert {problem.split()[0].partition("=")[0] for problem in report["problems"]} == set(WRONG)
    assert report["notes"] == ["TERSELY_TREADS is no variable of tersely; is TERSELY_NUM_THREADS meant?"]
    assert sorted(path.name for path in source.parent.iterdir()) == [source.name]


def test_python_imports_and_says_so_where_kernels_are_needed() -> None:
    code = (
        "import tersely, numpy as np, tersely.files.open, tersely.files.commands\n"
        "from tersely.backends.cpu import native\n"
        "def refused(call):\n"
        "    try:\n"
        "        call()\n"
        "    except tersely.ArgumentError as error:\n"
        "        return str(error)\n"
        "array = np.ones((64, 64), np.float32)\n"
        "calls = [lambda: tersely.encode(array), tersely.isa.active, lambda: native.module.cpu_name()]\n"
        "print([refused(call) for call in calls])\n"
        "if native.loaded is not None:\n"
        "    tersely.isa.use('scalar')\n"
        "    assert tersely.isa.active() == 'scalar'\n"
        "    tersely.encode(array)\n"
    )
    for variables in ({"TERSELY_ISA": UNAVAILABLE or "avx9"}, {"TERSELY_NATIVE": "0", "TERSELY_ISA": "avx2"}):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **variables}
        )
        assert done.returncode == 0, done.stderr
        assert "None" not in done.stdout
        assert done.stdout.count("TERSELY_ISA=") == 3


def test_variables_are_read_in_one_place() -> None:
    for path in Path(tersely.__file__).parent.rglob("*.py"):
        # threads asks at every product whether one is there, and exec hands its environment on.
        if path.name not in ("environment.py", "threads.py", "exec.py"):
            assert "environ[" not in path.read_text(), path
            assert "environ.get" not in path.read_text(), path


def test_what_is_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in environment.VARIABLES:
        monkeypatch.setenv(variable, "")
    environment.check()
    assert environment.threads() is None
    for text in ("0", "-1", "1.5", "\u0663", "99999"):
        monkeypatch.setenv(environment.THREADS, text)
        with pytest.raises(ArgumentError, match="TERSELY_NUM_THREADS"):
            environment.check()
        with pytest.raises(ArgumentError, match="TERSELY_NUM_THREADS"):
            tersely.get_num_threads()

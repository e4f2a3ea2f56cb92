"""What commands show: text is text, a row is a line, and a command ends with one line."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from rich.cells import cell_len
from support.arrays import normal
from typer.testing import CliRunner

from tersely.cli import adapters, failures, output, tables, tensor_table, text
from tersely.cli.__main__ import app
from tersely.cli.tables import Column
from tersely.core.errors import TerselyError
from tersely.files import results

LAYERS = "model.layers.{}.self_attn.a_projection_with_a_long_name.weight"
ODD = (
    "blocks[attn].w",
    "decoder[/0].w",
    "[bold red]x[/]",
    "a:smile:b",
    "line\nbreak",
    "\x1b[31mred",
    "[link=http://x]y",
    "{task}",
)


def on_terminal(columns: int, *arguments: object, environment: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """(exit code, lines) of a command on a terminal of so many columns, without colours."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {
        key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    }
    command = [sys.executable, "-m", "tersely", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=inner, stdout=inner, stderr=inner, env={**kept, "TERM": "xterm", **(environment or {})}
    ) as child:
        os.close(inner)
        found = b""
        while True:
            try:
                part = os.read(outer, 1 << 16)
            except OSError as error:
                assert error.errno == errno.EIO  # the other end is closed
                break
            if not part:
                break
            found += part
    os.close(outer)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", found.decode())
    return child.returncode, [line.split("\r")[-1] for line in plain.replace("\r\n", "\n").split("\n")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with brackets in its name that holds a model of 6 layers and one of odd names, compressed."""
    rng = np.random.default_rng(3)
    place = tmp_path_factory.mktemp("terminals") / "old [bold]" / "[" / "v2]"
    place.mkdir(parents=True)
    layers = {LAYERS.format(n): normal(rng, (64, 256), np.dtype(np.float32)) for n in range(6)}
    safetensors.numpy.save_file(layers | {"bias": np.zeros(3, np.int32)}, place / "m.safetensors")
    odd = {name: normal(rng, (128, 128), np.dtype(np.float32)) for name in ODD}
    safetensors.numpy.save_file(odd, place / "odd.safetensors")
    for name in ("m", "odd"):
        result = CliRunner().invoke(app, ["compress", str(place / f"{name}.safetensors")])
        assert result.exit_code == 0, result.output
        assert f"written: {place / name}.tersely.safetensors" in result.output
    return place


def test_names_and_paths_are_text_wherever_they_are_shown(folder: Path) -> None:
    packed, source = folder / "odd.tersely.safetensors", folder / "odd.safetensors"
    shown = [text.shown(name) for name in ODD]
    assert "line\\nbreak" in shown
    assert "\\x1b[31mred" in shown
    for arguments in (
        ("inspect", packed),
        ("inspect", packed, "--tree"),
        ("plan", source),
        ("compress", source, "--dry-run"),
    ):
        result = CliRunner().invoke(app, [*map(str, arguments)])
        assert result.exit_code == 0, (arguments, result.exception)
        assert [name for name in shown if name not in result.output] == [], arguments
        assert "\x1b" not in result.output
    for arguments in (("verify", packed), ("report", source, "-o", folder / "[r].html")):
        assert str(folder) in CliRunner().invoke(app, [*map(str, arguments)]).output
    _, lines = on_terminal(80, "inspect", folder / "[no].safetensors")
    assert "".join(lines).strip() == f"tersely: {folder / '[no].safetensors'} does not exist"


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_a_row_is_a_line_and_layers_are_one_row(folder: Path, columns: int) -> None:
    for arguments in (("inspect", folder / "m.tersely.safetensors"), ("plan", folder / "m.safetensors")):
        code, lines = on_terminal(columns, *arguments)
        assert code == 0, lines
        assert max(len(line) for line in lines) <= columns
        assert lines[0].startswith("tensor ")
        (layers,) = [line for line in lines if line.startswith("6 x ")]
        assert layers.split()[2].endswith(".weight"), layers
        assert any(line.startswith("bias ") for line in lines)
        assert any(re.match(r"(file|together): .*ratio", line) for line in lines), lines
    tree = on_terminal(columns, "inspect", folder / "m.tersely.safetensors", "--tree")[1]
    assert max(len(line) for line in tree[1:]) <= columns


def test_in_a_pipe_nothing_is_wrapped_shortened_or_left_out(folder: Path) -> None:
    for arguments in (("inspect", folder / "m.tersely.safetensors"), ("plan", folder / "m.safetensors")):
        lines = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "40"}).output.splitlines()
        for number in range(6):
            assert sum(line.startswith(LAYERS.format(number) + "  ") for line in lines) == 1
        assert not any(line.endswith(" ") or "\u2026" in line for line in lines)
        assert "no room" not in "".join(lines)


def test_the_progress_bar_keeps_its_numbers_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, markup=False, emoji=False, highlight=False)
    monkeypatch.setattr(output, "console", lambda stderr=False: terminal)
    for steps in (False, True):
        with output.progress_bar("decompressing", False, steps) as advance:
            assert advance is not None
            advance(
                123_456_789_000, 987_654_321_000, "[/x]" + "model.layers.17.mlp.experts.63.up_projection.weight" * 3
            )
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.file.getvalue())  # type: ignore[attr-defined]
    assert "123.5/987.7 GB" in written
    assert "123456789000/987654321000" in written
    assert all(len(line) <= 80 for line in re.split("[\r\n]", written))


def test_tables_fit_any_width() -> None:
    columns = (
        Column("name", lambda row: row[0], keep=9, least=8),
        Column("first", lambda row: row[1], keep=2),
        Column("second", lambda row: row[2], right=True, keep=3),
    )
    rows = [("a" * 30 + "\u4e2d" * 10, "one", "1234"), ("b", "two", "5")]
    whole, left_out = tables.lines(columns, rows, None)
    assert rows[0][0] in whole[1]
    assert not left_out
    for width in range(4, 80):
        lines, left_out = tables.lines(columns, rows, width)
        assert len(lines) == 3
        assert max(map(cell_len, lines)) <= width
        if left_out:
            assert left_out[0] == "first"  # the least important one goes first
    assert tables.lines(columns, rows, 18)[1] == ("first",)


@pytest.mark.parametrize("wanted", range(1, 60, 7))
def test_names_are_shortened_in_the_middle(wanted: int) -> None:
    name = "model.layers.11.\u4e2d\u6587.mlp.up_proj.weight"
    short = text.shortened(name, wanted)
    assert cell_len(short) <= wanted
    if cell_len(name) <= wanted:
        assert short == name
    elif wanted > 14:
        assert short.startswith("mod")
        assert short.endswith("weight")


def test_names_of_the_same_layer_are_one() -> None:
    names = [f"model.layers.{n}.mlp.experts.3.up_proj" for n in range(12)]
    assert text.joined(names) == "12 x model.layers.*.mlp.experts.3.up_proj"
    assert text.joined(names[:1]) == names[0]
    rows = [*names, "model.layers.1.mlp.experts.3.down_proj"]
    assert [len(group) for group in tables.grouped(rows, str, lambda _: 0)] == [12, 1]
    assert [len(group) for group in tables.grouped(rows, str, lambda row: "1" in row)] == [9, 3, 1]


def test_what_cannot_be_seen_is_shown_as_an_escape() -> None:
    assert text.shown("a\tb\rc\x00") == "a\\tb\\rc\\x00"
    assert text.shown("x\u202egnp.exe\ud83d") == "x\\u202egnp.exe\\ud83d"
    assert text.shown("g\u00fcte \u4e2d \U0001f600 a b") == "g\u00fcte \u4e2d \U0001f600 a b"


def test_rows_that_had_no_room_are_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    made = [results.TensorReport(f"t{n}x", (n + 1,), "float32", "dense", {}, 4 * n + 4, 4 * n + 4) for n in range(30)]
    tensor_table.show(tuple(made), 20)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 22
    assert lines[-1].split()[:4] == ["...", "10", "smaller", "tensors"]
    assert f"{sum(4 * n + 4 for n in range(10))} B" in lines[-1]


FOREIGN = {
    "ValueError": ValueError("first line\n  second [/line]\n\nthird"),
    "RuntimeError": RuntimeError(""),
    "KeyError": KeyError("weight"),
    "ImportError": ImportError("no such thing"),
    "AttributeError": AttributeError("x" * 5000),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_errors_of_other_libraries_are_one_line(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(module: str) -> Any:
        raise FOREIGN[kind]

    monkeypatch.setattr(adapters, "of_transformers", broken)
    monkeypatch.setattr(failures, "_obey_signals", lambda: None)
    for words in (
        ["bench", str(tmp_path)],
        ["bench", str(tmp_path), "--debug"],
        ["--debug", "run", str(tmp_path), "--prompt", "x"],
    ):
        monkeypatch.setattr(failures, "_debug", False)
        monkeypatch.setattr(sys, "argv", ["tersely", *words])
        with pytest.raises(SystemExit) as ended:
            failures.main(app)
        said = capsys.readouterr().err
        assert ended.value.code == 1
        last = said.splitlines()[-1]
        assert last.startswith(f"tersely: {kind}")
        assert len(last) < 1200
        assert ("Traceback" in said) == ("--debug" in words)
        assert "--debug" in words or said.count("\n") == 1


def test_flags_are_shown_as_flags(folder: Path) -> None:
    for command in ("compress", "plan", "bench", "run", "calibrate", "inspect"):
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).output
        assert re.search(r"^  --(json|tree) +[A-Z]", shown, re.M), shown
        assert "<bool>" not in shown
        assert "[[" not in shown
        assert max(map(len, shown.splitlines())) <= 80
    model = folder / "m.safetensors"
    for words, flag in (
        (("compress", model, "--target-bits", "3", "--objective", "size"), "--target-bits"),
        (("compress", model), "pass --force"),
    ):
        error = CliRunner().invoke(app, [*map(str, words)]).exception
        assert isinstance(error, TerselyError)
        said = failures.with_flags(str(error))
        assert flag in said
        assert not re.search(r"[a-z]_[a-z]+\b(?=[ :,;)]|=)", said.replace(str(folder), "")), said
    noted = CliRunner().invoke(app, ["compress", str(model), "--dry-run", "--include", "nothing*"]).output
    assert "note: --include 'nothing*' matches no tensor" in noted


def test_a_terminal_that_shows_ascii_alone_is_enough(folder: Path) -> None:
    code, lines = on_terminal(
        80, "inspect", folder / "odd.tersely.safetensors", environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    )
    assert code == 0, lines
    assert any("[attn]" in line for line in lines)


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m tersely inspect '{folder / 'm.tersely.safetensors'}' --json | head -c 5"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""

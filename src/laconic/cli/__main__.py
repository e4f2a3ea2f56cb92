"""`laconic`: the commands, and what their exit codes mean (0 done, 1 refused or failed, 2 wrong usage)."""

from __future__ import annotations

import sys

import typer

from laconic import __version__
from laconic.cli import bench, calibrate, compress, decompress, doctor, inspect, plan, report, run, verify
from laconic.errors import LaconicError

app = typer.Typer(
    name="laconic",
    help="Neural network weights, losslessly smaller, and run as they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (compress, decompress, inspect, report, plan, verify, run, bench, calibrate, doctor):
    app.command(name=command.__name__.rpartition(".")[2])(command.run)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"laconic {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Neural network weights, losslessly smaller, and run as they are."""


def main() -> None:
    """Entry point: errors that laconic raises on purpose become one line and exit code 1."""
    try:
        app()
    except LaconicError as error:
        typer.echo(f"laconic: {error}", err=True)
        sys.exit(1)
    except (OSError, MemoryError) as error:
        typer.echo(f"laconic: {type(error).__name__}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

"""`tersely`: the commands. What their exit codes mean stands in `failures`."""

from __future__ import annotations

import typer

from tersely import __version__
from tersely.cli import (
    bench,
    calibrate,
    compress,
    decompress,
    doctor,
    exec,
    failures,
    inspect,
    pipeline,
    plan,
    profile,
    report,
    run,
    transcode,
    verify,
)

app = typer.Typer(
    name="tersely",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help and complaints are text: flags without a type, names without colours
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
for command, summary in (
    (compress, "A file or model folder, losslessly smaller."),
    (decompress, "The originals again, byte for byte."),
    (transcode, "Stored to runnable, runnable to stored."),
    (inspect, "What a file holds, tensor by tensor."),
    (report, "Where every byte went, as a page to look at."),
    (plan, "What every tensor would become, and why."),
    (verify, "Is a file whole, and is it that original?"),
    (run, "Text from a model folder, with its speed."),
    (pipeline, "An ONNX model, to be run compressed."),
    (profile, "Where the time of a network goes."),
    (exec, "A program of others, on compressed folders."),
    (bench, "Dense against compressed, on this machine."),
    (calibrate, "Measure this machine, to plan for it."),
    (doctor, "What this machine and installation can do."),
):
    name = command.__name__.rpartition(".")[2]
    app.command(name=name, short_help=summary, context_settings=getattr(command, "CONTEXT", None))(
        failures.command(command.run)
    )


def _version(show: bool) -> None:
    if show:
        typer.echo(f"tersely {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: failures.Debug = False,
) -> None:
    """Neural network weights, losslessly smaller, and run as they are."""
    failures.debug(debug)


def main() -> None:
    """Entry point: whatever ends a command, it ends with one line and an exit code."""
    failures.main(app)


if __name__ == "__main__":
    main()

"""Runs calls one after the other and writes down what came of each: `python -m differential.child RUNS RESULTS`.

Before each call it writes which twin is asked what, so that whoever reads the results of a child that died knows the call.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from differential import subjects, twins
from differential.calls import Run

SECONDS = 120
"""A call that takes longer has hung."""


def main(runs_file: str, results_file: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    runs: list[tuple[int, Run]] = pickle.loads(Path(runs_file).read_bytes())
    subjects.make_known(any(run.call.of_adapters for _, run in runs))
    sys.stdin = open(os.devnull)  # noqa: SIM115
    with open(results_file, "ab") as results, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)

        def write(*entry: object) -> None:
            pickle.dump(entry, results)
            results.flush()

        for number, run in runs:
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            found = twins.differences(run, lambda side, one, number=number: write(number, side, one))  # type: ignore[misc]
            faulthandler.cancel_dump_traceback_later()
            write(number, "done", found)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""`python -m benchmarks.evidence`: see the package."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks import peers, protocol, record
from benchmarks.evidence import isolate, kept, kernels
from benchmarks.evidence.coding import OURS
from benchmarks.evidence.isolate import Unit
from benchmarks.protocol import Protocol

CASES = Path(__file__).with_name("cases.toml")
QUICK_SECONDS = 0.4
"""For each thing that is compared."""


def told(quick: bool) -> dict[str, Any]:
    """cases.toml; with `quick`, what it says for it in place of the rest."""
    found = tomllib.loads(CASES.read_text())
    for group in ("coding", "running", "narrow", "tokens", "mixing"):
        short = {key.removeprefix("quick_"): value for key, value in found[group].items() if key.startswith("quick_")}
        found[group] = {key: value for key, value in found[group].items() if not key.startswith("quick_")}
        if quick:
            found[group] |= short
    return found


def units(
    cases: dict[str, Any], models: Path | None, plan: Protocol, without: list[str]
) -> Iterator[tuple[Unit, float]]:
    """Every unit of work and its limit in seconds; those of whole networks first, on which most depends."""
    common = {"models": str(models) if models else ""}
    yield from _running(cases, common, plan, without)
    tokens = {key: cases["tokens"][key] for key in ("hidden", "layers", "tokens")}
    unit = _unit(cases, "tokens", "llama", "bfloat16", threads=plan.threads, seconds=plan.seconds, **tokens)
    yield common | unit, cases["tokens"]["limit_seconds"]
    for name, batch in itertools.product(cases["narrow"]["networks"], cases["narrow"]["batches"]):
        more = {"batch": batch, "threads": plan.threads, "seconds": plan.seconds}
        yield common | _unit(cases, "narrow", name, "float32", **more), cases["narrow"]["limit_seconds"]
    yield from _mixing(cases, common, plan)
    for name in cases["predictions"]["networks"]:
        yield common | _unit(cases, "predictions", name, "float32"), cases["predictions"]["limit_seconds"]
    for name, state in cases["shares"]["rows"]:
        size = int(cases["shares"]["sample_mb"] * 1e6)
        shares = _unit(cases, "shares", name, state, source=cases["networks"][name], sample_bytes=size)
        yield common | shares, cases["shares"]["limit_seconds"]
    yield from _coding(cases, common, plan)


def _unit(cases: dict[str, Any], kind: str, name: str, state: str, **more: Any) -> Unit:
    return {"kind": kind, "network": name, "state": state, "step": cases["states"][state]} | more


def _running(cases: dict[str, Any], common: Unit, plan: Protocol, without: list[str]) -> Iterator[tuple[Unit, float]]:
    group = cases["running"]
    for part in (
        {"networks": group["networks"], "states": group["states"], "batches": group["batches"]},
        *group["more"],
    ):
        for name in part["networks"]:
            for state in part["states"]:
                for batch in part["batches"]:
                    plain = cases["states"][state]["kind"] == "none" and batch == 1
                    unit = _unit(
                        cases, "running", name, state, batch=batch, threads=plan.threads, seconds=plan.seconds
                    ) | {
                        "dtype": cases["states"][state].get("dtype", "float32"),
                        "without": sorted({*without, *group["without"]}),
                        "tries": group["tries"],
                        "cold": group["cold"] and plain,
                    }
                    yield common | unit, group["limit_seconds"]


def _mixing(cases: dict[str, Any], common: Unit, plan: Protocol) -> Iterator[tuple[Unit, float]]:
    group = cases["mixing"]
    for name in group["networks"]:
        for state in group["states"]:
            unit = _unit(
                cases, "mixing", name, state, source=cases["networks"][name], seconds=plan.seconds / 2,
                sample_bytes=int(group["sample_mb"] * 1e6),
            )  # fmt: skip
            yield common | unit, group["limit_seconds"]


def _coding(cases: dict[str, Any], common: Unit, plan: Protocol) -> Iterator[tuple[Unit, float]]:
    group = cases["coding"]
    cases["states"]["as it is"] = {"kind": "none"}
    rows = [(name, state) for name in group["every"] for state in group.get("states", cases["states"])]
    rows += [(name, "as it is") for name in group["as_they_are"]]
    for name, state in rows:
        if state == "as it is" and name in group["every"]:
            continue
        shared = {"source": cases["networks"][name]} | common
        unit = shared | _unit(cases, "coding", name, state, sample_bytes=int(group["sample_mb"] * 1e6))
        for coder in (*OURS, *peers.CODERS):
            yield unit | {"coder": coder}, group["limit_seconds"]
        products = _unit(
            cases, "products", name, state, coders=list(peers.MULTIPLYING), seconds=plan.seconds / 4,
            sample_bytes=int(group["product_mb"] * 1e6), working_set_bytes=int(group["product_set_mb"] * 1e6),
        )  # fmt: skip
        yield shared | products, group["limit_seconds"]


def key_of(unit: Unit) -> str:
    """The same for the same unit of work, wherever the models lie."""
    asked = {key: value for key, value in unit.items() if key not in ("models", "file")}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def title(unit: Unit) -> str:
    """A unit for people."""
    last = unit.get("coder") or (f"batch {unit['batch']}" if "batch" in unit else "")
    return " ".join(part for part in (f"{unit['kind']}: {unit['network']}, {unit['state']}", last) if part)


def _row(unit: Unit) -> str:
    """The same for every coder of one row, which gets the same tensors."""
    return key_of({key: value for key, value in unit.items() if key != "coder"})


def _coded(unit: Unit, sampled: dict[str, Any], limit: float) -> tuple[dict[str, Any], float]:
    """What a coder made of its row's file and the seconds that took; why there is no file, where there is none."""
    begin = time.monotonic()
    found = sampled if "failed" in sampled else isolate.run(unit, limit)
    return found, time.monotonic() - begin


def _in_turns(work: list[tuple[Unit, float]], jobs: int) -> Iterator[tuple[Unit, dict[str, Any], float]]:
    """Units, what they found, and seconds: one after another, but coders of one row `jobs` at a time."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "row.safetensors"))
        for row, some in itertools.groupby(work, lambda one: _row(one[0]) if one[0]["kind"] == "coding" else ""):
            if not row:
                for unit, limit in some:
                    begin = time.monotonic()
                    found = isolate.run(unit, limit)
                    yield unit, found, time.monotonic() - begin
                continue
            coders = [(unit | {"file": file}, limit) for unit, limit in some]
            unit, limit = coders[0]
            sampled = isolate.run(unit | {"kind": "sampling"}, limit)
            with ThreadPoolExecutor(jobs) as pool:
                running = {pool.submit(_coded, unit, sampled, limit): unit for unit, limit in coders}
                try:
                    for done in as_completed(running):
                        yield running[done], *done.result()
                finally:
                    pool.shutdown(cancel_futures=True)


def _forget(units: dict[str, Any], unit: Unit) -> None:
    """Take out what was found for the same row with other settings: a quick figure, or one of more bytes."""
    for key in [key for key, one in units.items() if title(one["unit"]) == title(unit)]:
        del units[key]


def _has_figure(units: dict[str, Any], unit: Unit) -> bool:
    """Whether the record has a figure of the same row, with whatever settings."""
    return any(title(one["unit"]) == title(unit) and "failed" not in one for one in units.values())


def _settled(one: dict[str, Any] | None) -> bool:
    """Whether a unit need not be measured again: it has a figure, or failed as it always will."""
    return one is not None and "takes none" in one.get("failed", "takes none")


def run(
    work: list[tuple[Unit, float]],
    found: dict[str, Any],
    save: Callable[[], None],
    only: list[str],
    limit_seconds: float,
    jobs: int = 1,
) -> None:
    """Run what the record lacks and what failed, a line for each, and save after each; of coders, `jobs` at a time.

    Raises SystemExit where nothing is selected.
    """
    work = [(unit, limit) for unit, limit in work if all(word in title(unit) for word in only)]
    if not work:
        raise SystemExit(f"no unit of work has all of these words in its title: {', '.join(only)}")
    left = [(unit, limit) for unit, limit in work if not _settled(found["units"].get(key_of(unit)))]
    print(f"{len(work)} units of work, {len(work) - len(left)} of them in the record already", flush=True)
    commit = found["commit"]
    start = time.monotonic()
    with contextlib.closing(_in_turns(left, jobs)) as turns:
        for done, (unit, result, spent) in enumerate(turns, 1):
            kept = {key: value for key, value in unit.items() if key not in ("models", "step", "source", "file")}
            at_once = {"jobs": jobs} if unit["kind"] == "coding" else {}
            origin = {"commit": commit, "kernels": kernels.digest(unit["kind"])}
            told_of = result.get("failed") or "done"
            if "failed" in result and _has_figure(found["units"], unit):
                told_of += " (the figure before it is kept)"
            else:
                _forget(found["units"], unit)
                found["units"][key_of(unit)] = {"unit": kept, "seconds": spent, **origin, **at_once, **result}
                save()
            each = (time.monotonic() - start) / done
            remaining = f"{each * (len(left) - done) / 60:.0f} min left"
            print(f"[{done}/{len(left)}, {remaining}] {title(unit)}: {told_of}, {spent:.0f} s", flush=True)
            if time.monotonic() - start > limit_seconds and done < len(left):
                print("the time is over: --resume goes on from here", flush=True)
                return


def main() -> None:
    default = Protocol(seconds=1.0)
    parser = protocol.options(__doc__, default)
    parser.add_argument("--models", type=Path, help="folder of the files that cases.toml names")
    parser.add_argument("--quick", action="store_true", help="fewer networks, states and bytes: ten minutes or so")
    parser.add_argument("--resume", action="store_true", help="keep what the record has, whatever commit it is of")
    parser.add_argument("--only", nargs="+", default=[], help="units whose title has all of these words")
    parser.add_argument("--without", nargs="+", default=[], metavar="ENGINE")
    parser.add_argument("--minutes", type=protocol.not_negative, default=1e9, help="start nothing after so many")
    parser.add_argument(
        "--jobs", type=protocol.count, default=1, help="coders at a time: their speed is by processor time"
    )
    arguments = parser.parse_args()
    if arguments.quick and arguments.seconds == default.seconds:
        arguments.seconds = QUICK_SECONDS
    if arguments.models and not arguments.models.is_dir():
        parser.error(f"--models {arguments.models}: there is no such folder")
    plan = protocol.begin(arguments, default)
    cases = told(arguments.quick)
    found = record.new("evidence quick" if arguments.quick else "evidence", plan)
    found |= {"quick": arguments.quick, "units": {}}
    path = arguments.output or record.path_of(found)
    kept.check_place(path)
    if path.is_file():
        if not arguments.resume:
            raise SystemExit(f"{path} is there: --resume goes on with it, -o takes another name")
        found["units"] = _resumed(path, found)
    work = list(units(cases, arguments.models and arguments.models.resolve(), plan, arguments.without))
    try:
        run(
            work,
            found,
            lambda: kept.save(found, path),
            arguments.only,
            60 * arguments.minutes,
            arguments.jobs,
        )
    except KeyboardInterrupt:
        raise SystemExit(f"interrupted: --resume goes on with {path}") from None
    print(f"record: {path}; python -m benchmarks.evidence.page {path} makes the page", flush=True)


def _resumed(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The units of a record of this machine. Raises SystemExit for one of another, and where one is quick and one is not."""
    before = kept.read(path)
    if before["quick"] != found["quick"]:
        raise SystemExit(f"{path} is of {'a quick' if before['quick'] else 'a full'} run: give -o a file of its own")
    if before["machine"] != found["machine"]:
        raise SystemExit(f"{path} is of another machine ({before['machine']}): give -o a file of its own")
    units: dict[str, Any] = before["units"]
    return units


if __name__ == "__main__":
    main()

"""Engines held to AVX2: every cpuid of a library is found and nothing else, and its answer has no AVX-512."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not shutil.which("cc") or not shutil.which("objdump"),
    reason="needs an x86-64 processor, a C compiler and objdump",
)
LIBRARY = """
#include <cpuid.h>
#include <stdint.h>
uint32_t constant(uint32_t x) { return x * 0x00a20f00u + 0x0000a20fu; }
void leaf(uint32_t number, uint32_t part, uint32_t* found) {
  __cpuid_count(number, part, found[0], found[1], found[2], found[3]);
}
uint32_t vendor(void) { uint32_t a, b, c, d; __cpuid(0, a, b, c, d); return b; }
"""
ASK = """
import ctypes, json, sys
library = ctypes.CDLL(sys.argv[1])
found = (ctypes.c_uint32 * 4)()
answers = []
for part in (0, 1):
    library.leaf(7, part, found)
    answers.append(list(found))
library.leaf(1, 0, found)
asked = ctypes.c_int64.in_dll(ctypes.CDLL(None), "tersely_held_asked").value
vendor = ctypes.c_uint32(library.vendor()).value
print(json.dumps([*answers, list(found), vendor, library.constant(3), asked]))
"""


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.peers.held")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    source, found = tmp_path / "library.c", tmp_path / "library.so"
    source.write_text(LIBRARY)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(found), str(source)], check=True)
    return found


def test_every_cpuid_is_found_and_nothing_else(held: Any, library: Path) -> None:
    content = library.read_bytes()
    places = held.cpuids(content)
    assert len(places) == 2
    assert all(content[place : place + 2] == held.CPUID for place in places)
    assert sum(len(list(held._all(content, *one))) for one in held._code(content)) == 4, "two in constants"


def test_a_library_without_code_has_none(held: Any) -> None:
    assert held.cpuids(bytes(0x40)) == []


def test_what_is_more_than_avx2_is_hidden(held: Any, library: Path, tmp_path: Path) -> None:
    content = bytearray(library.read_bytes())
    plain = ctypes.CDLL(str(library))
    for place in held.cpuids(bytes(content)):
        content[place : place + 2] = held.TRAP
    trapped = tmp_path / "trapped.so"
    trapped.write_bytes(content)
    environment = {**os.environ, "LD_PRELOAD": str(held._handler(tmp_path))}
    command = [sys.executable, "-c", ASK, str(trapped)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, second, features, vendor, constant, asked = json.loads(ran.stdout)
    real = (ctypes.c_uint32 * 4)()
    plain.leaf(7, 0, real)
    assert first[1] & (1 << 5) == real[1] & (1 << 5), "AVX2 stays"
    assert not first[1] & (1 << 16 | 1 << 17 | 1 << 30 | 1 << 31)
    assert not first[2] & (1 << 11)
    assert not first[3] & (1 << 24)
    assert not second[0] & (1 << 4 | 1 << 5)
    plain.leaf(1, 0, real)
    assert features[2:] == list(real)[2:]
    assert (vendor, constant) == (plain.vendor() & 0xFFFFFFFF, plain.constant(3))
    assert asked == 3, "the vendor was asked for later"

"""Engines held to AVX2 on a processor with more: what they are told of it is a processor of AVX2 and FMA.

ONNX Runtime has no switch for its instruction set. So the libraries of an engine are copied to a temporary folder in
which every `cpuid` is a trap (held.c), whose handler asks the processor and hides AVX-512, AVX-VNNI, AMX and AVX10.
Nothing else in them is changed. The program then runs again, in a process that loads the handler first and finds the
copies before the installed packages; PyTorch and tersely have switches, which are set.

`cpuid` is two bytes, which may be part of another instruction. A place counts where objdump comes to the instruction
from most of several starts before it, as code finds back to its instructions within a few of them.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

CPUID, TRAP = b"\x0f\xa2", b"\xcc\x90"
LIBRARIES = {
    "onnxruntime": ("capi/*.so*",),
    "openvino": ("libs/libopenvino.so*", "libs/libopenvino_intel_cpu_plugin.so"),
}
"""What asks for the instruction set, by package."""
ENGINES = ("ONNX Runtime", "OpenVINO", "PyTorch")
"""Those that can be held."""
UNUSED = shutil.ignore_patterns("*_gpu_plugin*", "*_npu_plugin*", "__pycache__")
SWITCHES = {
    "TERSELY_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip
HELD = "TERSELY_BENCHMARKS_HELD"
STARTS, BEFORE, BLOCK = 16, 48, 96
"""Of disassembly: how many starts, the nearest so many bytes before a place; bytes for each, filled up with nops."""


def again(module: str) -> None:
    """Runs this program once more with its engines held, and ends; does nothing where they are."""
    if is_held():
        return
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        environment = {**os.environ, **SWITCHES, HELD: "avx2", "LD_PRELOAD": str(_handler(folder))}
        for package, patterns in LIBRARIES.items():
            if find_spec(package):
                print(f"{package}: {_copied(package, patterns, folder)} times cpuid", flush=True)
        environment["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        raise SystemExit(subprocess.run([sys.executable, "-m", module, *sys.argv[1:]], env=environment).returncode)


def is_held() -> bool:
    return HELD in os.environ


def asked() -> int:
    """How often the processor was asked through the handler in this process."""
    return int(ctypes.c_int64.in_dll(ctypes.CDLL(None), "tersely_held_asked").value)


def _handler(folder: Path) -> Path:
    found = folder / "held.so"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-o", str(found), str(Path(__file__).with_name("held.c"))], check=True
    )
    return found


def _copied(package: str, patterns: tuple[str, ...], folder: Path) -> int:
    """Copies a package and sets traps in its libraries; how many."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None  # noqa: PT018
    shutil.copytree(Path(spec.origin).parent, folder / package, ignore=UNUSED)
    count = 0
    for path in sorted({one.resolve() for pattern in patterns for one in (folder / package).glob(pattern)}):
        content = bytearray(path.read_bytes())
        places = cpuids(bytes(content))
        for place in places:
            content[place : place + 2] = TRAP
        path.write_bytes(content)
        count += len(places)
    if not count:
        raise SystemExit(f"{package}: no cpuid is found, so it cannot be held")
    return count


def cpuids(library: bytes) -> list[int]:
    """Offsets of the instructions `cpuid` in a library."""
    found = [place for begin, end in _code(library) for place in _all(library, begin, end)]
    if not found:
        return []
    blocks = [
        (b"\x90" * 16 + library[max(place - BEFORE - start, 0) : place + 2]).ljust(BLOCK, b"\x90")
        for place in found
        for start in range(STARTS)
    ]
    seen = _disassembled(b"".join(blocks))
    offsets = [
        number * BLOCK + 16 + min(BEFORE + number % STARTS, found[number // STARTS]) for number in range(len(blocks))
    ]
    votes = [sum(one in seen for one in offsets[i * STARTS : (i + 1) * STARTS]) for i in range(len(found))]
    return [place for place, count in zip(found, votes, strict=True) if 2 * count > STARTS]


def _all(library: bytes, begin: int, end: int) -> Iterator[int]:
    place = library.find(CPUID, begin, end)
    while place >= 0:
        yield place
        place = library.find(CPUID, place + 1, end)


def _code(library: bytes) -> list[tuple[int, int]]:
    """Where sections of code lie in an ELF file of 64 bits."""
    executable, in_file = 0x4, 1
    (table,) = struct.unpack_from("<Q", library, 0x28)
    size, count = struct.unpack_from("<HH", library, 0x3A)
    found = []
    for number in range(count):
        _, kind, flags, _, offset, length = struct.unpack_from("<IIQQQQ", library, table + number * size)
        if flags & executable and kind == in_file:
            found.append((offset, offset + length))
    return found


def _disassembled(code: bytes) -> set[int]:
    """Offsets at which objdump reads `cpuid`."""
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(code)
        file.flush()
        command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "--no-show-raw-insn", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {int(one, 16) for one in re.findall(r"^\s*([0-9a-f]+):\s+cpuid\b", text, re.MULTILINE)}

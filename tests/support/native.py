"""Programs of C++ that are tested without Python, and coded tensors in folders as they read them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tersely.core.encoded import Encoded

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "build" / "native_tests"


def tool(name: str) -> str | None:
    """Beside this interpreter, or on the path."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def built(target: str) -> Path:
    """Built by CMake with plain C++ alone: what instruction sets add, the other tests compare with it."""
    cmake, compiler = tool("cmake"), tool(os.environ.get("CXX", "c++"))
    if cmake is None or compiler is None:
        pytest.skip(f"needs {'CMake' if cmake is None else 'a C++ compiler'}")
    options = ["-DTERSELY_TESTS=ON", "-DTERSELY_PYTHON=OFF", "-DTERSELY_SCALAR_ONLY=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    options += ["-DCMAKE_CXX_FLAGS=-O1", f"-DCMAKE_CXX_COMPILER={compiler}"]
    if ninja := tool("ninja"):
        options += ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    if ccache := tool("ccache"):
        options.append(f"-DCMAKE_CXX_COMPILER_LAUNCHER={ccache}")
    command = [cmake, "--build", BUILD, "--target", target, "--parallel", "2"]
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes, of which one builds at a time
        subprocess.run([cmake, "-S", ROOT, "-B", BUILD, *options], check=True, capture_output=True)
        made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    return BUILD / target


def write_coded(encoded: Encoded, folder: Path) -> None:
    """A coded tensor as description.json and components/NAME."""
    (folder / "components").mkdir(parents=True)
    description = {
        "shape": encoded.shape,
        "dtype": encoded.dtype,
        "view": encoded.view,
        "orientation": encoded.orientation,
        "column_order": encoded.column_order,
        "node": encoded.node.to_json(),
    }
    (folder / "description.json").write_text(json.dumps(description))
    for name, component in encoded.components.items():
        component.tofile(folder / "components" / name)

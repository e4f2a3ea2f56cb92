"""Arrows between layers point downward, files stay readable, kernel objects keep to themselves."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tersely.backends.cpu import native
from tersely.codes import registry

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tersely"

LAYERS = (
    {"core"},
    {"backends"},
    {"storage"},
    {"codes.protocol", "codes.checks", "codes.symbols", "codes.layouts"},
    {"codes.node"},
    {"codes.slicing", "codes.machine"},
    {
        "codes.words.dense",
        "codes.words.split",
        "codes.selection.sparse",
        "codes.words.integer",
        "codes.words.palette",
        "codes.words.affine",
        "codes.words.row_palette",
        "codes.selection.blocks",
        "codes.selection.block_sparse",
        "codes.selection.submatrix",
    },
    {"codes.selection.signed_zeros"},
    {"codes.registry"},
    {"codes.anatomy"},
    {"tensors.handoff"},
    {"planner"},
    {"tensors"},
    {"files.container"},
    {"storage.archive"},
    {"files"},
    {"graph"},
    {"onnx"},
    {"torch.weight"},
    {"torch.operators"},
    {"torch.modules"},
    {"torch.checkpoint"},
    {"torch.interop"},
    {"torch.networks"},
    {"torch"},
    {"transformers"},
    {"report"},
    {"cli"},
    {"__main__"},
)
"""Rooms, lowest first, some of them by their parts. A module imports from its own entry or from lower ones."""
SIDEWAYS = {
    ("codes.selection.sparse", "codes.words.dense"),
    ("codes.selection.sparse", "codes.words.split"),
    ("codes.selection.sparse", "codes.words.palette"),
    ("codes.selection.sparse", "codes.words.integer"),
    ("codes.words.integer", "codes.words.split"),
    ("codes.words.palette", "codes.words.split"),
    ("codes.words.palette", "codes.words.integer"),
    ("codes.words.affine", "codes.words.split"),
    ("codes.words.affine", "codes.selection.sparse"),
    ("codes.words.row_palette", "codes.words.affine"),
    ("codes.words.row_palette", "codes.selection.sparse"),
    ("codes.words.row_palette", "codes.words.palette"),
    ("codes.words.row_palette", "codes.words.split"),
    ("codes.selection.blocks", "codes.words.dense"),
    ("codes.selection.blocks", "codes.words.integer"),
    ("codes.selection.blocks", "codes.selection.sparse"),
    ("codes.selection.block_sparse", "codes.words.dense"),
    ("codes.selection.block_sparse", "codes.selection.blocks"),
    *(
        ("codes.selection.submatrix", f"codes.{kept}")
        for kept in (
            "words.dense",
            "words.split",
            "words.integer",
            "selection.sparse",
            "words.palette",
            "words.row_palette",
            "words.affine",
            "selection.blocks",
            "selection.block_sparse",
        )
    ),
}
"""Codes that are made of others."""
NARROW = {
    "files.container": {"core", "storage"},
    "storage.archive": {"core", "backends", "files", "storage"},
    "tensors": {"core", "backends", "codes", "planner", "tensors"},
    "tensors.handoff": {"core", "backends"},
}
"""What a unit may import at most: the file's container knows no code and no planner, thresholds nothing that uses them."""
IN_TORCH = {
    "weight": (
        "plain",
        "dtypes",
        "placement",
        "layouts",
        "tensor_spec",
        "weight_storage",
        "coded",
        "concatenated",
        "scratch",
        "multiply",
        "short_way",
        "holder",
        "dispatch",
        "tersely_tensor",
    ),
    "operators": ("compiled", "int8_operators", "views", "pointwise", "table"),
    "modules": (
        "summary",
        "pruning",
        "int8_linear",
        "torchao",
        "settings",
        "config",
        "budget",
        "compression",
    ),
    "checkpoint": ("extra_state", "dense_tensors", "recipes", "state_dicts", "save_load"),
    "interop": (
        "imports",
        "entrances",
        "hooks",
        "footprint",
        "offloading",
        "lending",
        "programs",
        "exporters",
    ),
    "networks": (
        "calls",
        "aten_shapes",
        "aten_tokens",
        "aten",
        "mutation",
        "decomposing",
        "decompositions_images",
        "decompositions_places",
        "decompositions_values",
        "decompositions",
        "folding",
        "fx",
        "identical",
        "partition",
        "pipeline",
        "dynamo",
    ),
}
"""The files of tersely.torch in an order in which each imports only those before it, inside of functions too."""


ADAPTERS = {"torch": {"torch"}, "transformers": {"torch", "transformers"}}
"""Adapters to other packages, and those packages: nobody else imports them."""
MAY_USE = {"transformers": {"torch"}, "cli": {"transformers"}}
"""Who imports an adapter: the adapter of transformers that of torch, and commands, inside their functions."""


def unit_of(module: str) -> str:
    """'tersely.codes.words.split.layout' -> 'codes.words.split'."""
    parts = module.split(".")[1:]
    known = set().union(*LAYERS)
    return next((".".join(parts[:n]) for n in (3, 2, 1) if ".".join(parts[:n]) in known), "")


def level(unit: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if unit in names)


def imports() -> list[tuple[str, str, Path]]:
    found = []
    for path in PACKAGE.rglob("*.py"):
        module = "tersely." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tersely"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("tersely.")]
            found += [(unit_of(module), unit_of(name), path) for name in names]
    return [(a, b, path) for a, b, path in found if a and b and a != b]


def test_arrows_point_downward() -> None:
    for source, target, path in imports():
        allowed = level(target) < level(source) or (source, target) in SIDEWAYS
        allowed &= source not in NARROW or target.split(".")[0] in NARROW[source]
        assert allowed, f"{path.relative_to(ROOT)}: {source} must not import {target}"


NAMES_ABOVE = {
    "graph/lowering/images.py": "a method of convolutions",
    "report/bench.py": "the benchmark of `split`",
    "files/foreign/onnx/graph.py": "a field of ONNX",
    "onnx/parts.py": "an attribute of ONNX",
}
"""Where a formulation is known by its name above the registry, and why. `dense` is what everybody falls back to."""


def test_nothing_above_the_registry_knows_a_formulation_by_name() -> None:
    names = set(registry.NAMES) - {"dense"}
    found = {}
    for path in PACKAGE.rglob("*.py"):
        where = path.relative_to(PACKAGE).as_posix()
        if where.startswith(("codes/", "core/")):
            continue
        words = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        known = {word for word in words if isinstance(word, str) and word.partition(" ")[0] in names and len(word) < 40}
        if known:
            found[where] = known
    assert set(found) == set(NAMES_ABOVE), found


CPP_LAYERS = (
    "backends/cpu/base",
    "backends/cpu/kernels",
    "backends/cpu/matrix",
    "backends/cpu/network",
    "storage",
    "codes",
    "backends/cpu/bindings",
)
"""Folders of C++, lowest first. A file includes from its own or from lower ones; codes, among each other, as Python's."""


def includes() -> list[tuple[str, str, Path]]:
    found = []
    for path in PACKAGE.rglob("*.?pp"):
        for name in re.findall(r'#include "tersely/([^"]+)"', path.read_text()):
            assert (PACKAGE / name).exists(), f"{path.relative_to(ROOT)} includes {name}, which is nowhere"
            found.append((path.relative_to(PACKAGE).as_posix(), name, path))
    return found


def test_includes_point_downward() -> None:
    def cpp_level(name: str) -> int:
        return next(number for number, folder in enumerate(CPP_LAYERS) if name.startswith(f"{folder}/"))

    def code(name: str) -> str:
        """'codes/words/split/encode.hpp' -> 'codes.words.split'; '' for what all codes share."""
        parts = name.split("/")
        return ".".join(parts[:3]) if parts[0] == "codes" and len(parts) == 4 else ""

    for source, target, _ in includes():
        assert cpp_level(target) <= cpp_level(source), f"{source} must not include {target}"
        own, other = code(source), code(target)
        if own and other and own != other:
            assert (own, other) in SIDEWAYS, f"{source} must not include {target}"
        # The list of all codes is the way in from outside: nothing that it lists includes it.
        assert target != "codes/open.hpp" or source.startswith(("backends/cpu/bindings/", "codes/open.cpp")), source


def test_cpp_below_the_bindings_knows_no_python() -> None:
    for path in PACKAGE.rglob("*.?pp"):
        if "bindings" not in path.parts:
            assert "nanobind" not in path.read_text(), path


def test_every_module_has_a_layer() -> None:
    for path in PACKAGE.rglob("*.py"):
        module = "tersely." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        assert unit_of(module) or path.name == "__init__.py", path


def test_files_of_torch_see_only_those_above() -> None:
    order = [f"tersely.torch.{room}.{file}" for room, files in IN_TORCH.items() for file in files]
    found = {
        "tersely." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in (PACKAGE / "torch").rglob("*.py")
        if path.name != "__init__.py"
    }
    assert set(order) == found
    for place, module in enumerate(order):
        path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tersely.torch"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("tersely.torch")]
            else:
                continue
            for name in names:
                above = [other for other in order[:place] if name == other or name.startswith(f"{other}.")]
                assert above, f"{path.relative_to(ROOT)} imports {name}, which is not above it"


def test_only_adapters_import_what_they_adapt() -> None:
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0]
        allowed = ADAPTERS.get(own, set())
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                foreign = name.split(".")[0] in set().union(*ADAPTERS.values()) - allowed
                assert not foreign or path.name == "bench.py", f"{path.relative_to(ROOT)} imports {name}"
                adapter = name.split(".")[1] if name.startswith("tersely.") else ""
                assert adapter not in set(ADAPTERS) - {own} - MAY_USE.get(own, set()), (
                    f"{path.relative_to(ROOT)} imports {name}"
                )


def test_no_folder_of_tests_hides_an_adapted_package() -> None:
    """`tests` is on the path of every test: a folder `tests/torch` would be `import torch` where torch is not installed."""
    for package in set().union(*ADAPTERS.values()):
        assert not list((ROOT / "tests" / package).glob("**/*.py")), package


def test_importing_tersely_imports_no_adapted_package() -> None:
    code = "import sys, tersely, tersely.files.commands; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_references_never_touch_the_native_module() -> None:
    for path in PACKAGE.rglob("reference.py"):
        assert "native" not in re.sub(r'"""[\s\S]*?"""', "", path.read_text()), path


def test_files_are_at_most_400_lines() -> None:
    for pattern in ("src/**/*.py", "src/**/*.?pp", "tests/**/*.py", "benchmarks/**/*.py", "examples/**/*.py"):
        for path in ROOT.glob(pattern):
            assert len(path.read_text().splitlines()) <= 400, path


def test_kernels_allocate_and_report_nothing() -> None:
    banned = re.compile(r"\b(malloc|new|throw|printf|std::vector|std::string|#include <(vector|string|iostream)>)\b")
    for path in (PACKAGE / "backends/cpu/kernels").rglob("*.?pp"):
        code = re.sub(r"//.*", "", path.read_text())
        assert not banned.search(code), path


def test_no_build_is_for_this_machine_only() -> None:
    assert "-march=native" not in (ROOT / "CMakeLists.txt").read_text()


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils' nm")
def test_kernel_objects_share_no_code_between_instruction_sets() -> None:
    """A weak symbol in an AVX-512 object could be the copy that the linker keeps for every processor."""
    for_tests = (ROOT / "build/sanitized", ROOT / "build/emulated", ROOT / "build/native_tests")  # never shipped
    found = [path for path in ROOT.glob("build/**/*.o") if "/kernels/" in str(path)]
    objects = [path for path in found if not any(folder in path.parents for folder in for_tests)]
    if not objects:
        pytest.skip("no build folder here: the package was not built in place")
    for path in objects:
        symbols = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout
        kinds = [
            line.split(maxsplit=1)[-1] if line.startswith(" ") else line.split(maxsplit=1)[1]
            for line in symbols.splitlines()
        ]
        exported = [text for text in kinds if text.startswith(("T ", "D ", "B ", "R "))]
        weak = [text for text in kinds if text.startswith(("W ", "V ", "u "))]
        assert not weak, (path, weak[:3])
        assert all("tersely::fill_" in text for text in exported), (path, exported)


def test_the_stub_is_that_of_the_native_module(tmp_path: Path) -> None:
    pytest.importorskip("nanobind.stubgen")
    if not native.available():
        pytest.skip("needs the native module")
    fresh = tmp_path / "_native.pyi"
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "tersely.backends.cpu._native", "-o", str(fresh)]
    subprocess.run(command, check=True)
    assert (PACKAGE / "backends/cpu/_native.pyi").read_text() == fresh.read_text(), "make stub"


def test_kernels_are_called_under_the_default_floating_point_environment() -> None:
    """`Computing` frees the interpreter lock and sees to it; who frees the lock alone would forget the other."""
    bindings = {path.name: path.read_text() for path in (PACKAGE / "backends/cpu/bindings").iterdir()}
    assert [name for name, text in bindings.items() if "gil_scoped_release" in text] == ["parts.hpp"]

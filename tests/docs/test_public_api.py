"""What users import exists, is documented, and costs little to import."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import tersely


def test_every_public_name_is_there_and_documented() -> None:
    for name in tersely.__all__:
        value = getattr(tersely, name)
        assert name == "__version__" or value.__doc__, name
    assert set(tersely.__all__) <= set(dir(tersely))


def test_importing_brings_in_neither_torch_nor_the_command_line() -> None:
    code = (
        "import sys, tersely\n"
        "tersely.encode, tersely.load_file, tersely.compress, tersely.linear\n"
        "heavy = {'torch', 'typer', 'rich', 'transformers', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_attribute_errors() -> None:
    assert not hasattr(tersely, "compresss")


def test_version_is_the_package_metadata() -> None:
    import importlib.metadata

    assert importlib.metadata.version("tersely") == tersely.__version__


def test_a_native_module_that_cannot_be_loaded_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    package = tmp_path / "tersely"
    shutil.copytree(
        Path(tersely.__file__).parent, package, ignore=shutil.ignore_patterns("*.cpp", "*.hpp", "__pycache__")
    )
    (package / f"backends/cpu/_native{sysconfig.get_config_var('EXT_SUFFIX')}").write_bytes(b"not a library")
    script = "import sys; sys.path.insert(0, sys.argv[1]); import tersely.backends.cpu.native; print(tersely.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import sys; sys.path += sys.argv[2:]\n" + script, str(tmp_path), *sys.path],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(package / "__init__.py")
    assert "native module cannot be loaded" in done.stderr

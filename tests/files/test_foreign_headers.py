"""Headers of other writers: read where the safetensors library reads them, refused where it refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors

import tersely
from tersely.core.errors import ArgumentError, CorruptError, TerselyError

DATA = np.random.default_rng(5).normal(0, 0.02, (64, 64)).astype("<f4").tobytes()
FIELDS = '"dtype":"F32","shape":[64,64],"data_offsets":[0,16384]'
ENTRY = f"{{{FIELDS}}}"
EMPTY = '"e":{"dtype":"F32","shape":[0],"data_offsets":[%d,%d]}'

HEADERS = {
    "metadata null": f'{{"__metadata__":null,"w":{ENTRY}}}',
    "metadata empty": f'{{"__metadata__":{{}},"w":{ENTRY}}}',
    "metadata last": f'{{"w":{ENTRY},"__metadata__":{{"format":"pt"}}}}',
    "metadata of numbers": f'{{"__metadata__":{{"step":7}},"w":{ENTRY}}}',
    "metadata of null": f'{{"__metadata__":{{"step":null}},"w":{ENTRY}}}',
    "metadata a list": f'{{"__metadata__":[],"w":{ENTRY}}}',
    "metadata a text": f'{{"__metadata__":"","w":{ENTRY}}}',
    "metadata false": f'{{"__metadata__":false,"w":{ENTRY}}}',
    "a metadata name twice": f'{{"__metadata__":{{"a":"1","a":"2"}},"w":{ENTRY}}}',
    "metadata twice": f'{{"__metadata__":{{}},"__metadata__":{{}},"w":{ENTRY}}}',
    "a field of its writer": f'{{"w":{{{FIELDS},"sha256":"00"}}}}',
    "a field that is nothing": f'{{"w":{{{FIELDS},"scale":null}}}}',
    "a field with fractions": f'{{"w":{{{FIELDS},"scale":[0.5,1e-3,-2]}}}}',
    "a field with a long number": f'{{"w":{{{FIELDS},"seed":{"1" * 40}}}}}',
    "a field with objects": f'{{"w":{{{FIELDS},"by":{{"who":["me",{{}}]}}}}}}',
    "a field of its writer twice": f'{{"w":{{{FIELDS},"x":1,"x":2}}}}',
    "a field that is no number": f'{{"w":{{{FIELDS},"x":NaN}}}}',
    "dtype twice": f'{{"w":{{"dtype":"F32",{FIELDS}}}}}',
    "offsets twice": f'{{"w":{{{FIELDS},"data_offsets":[0,16384]}}}}',
    "fields in a list": '{"w":["F32",[64,64],[0,16384]]}',
    "too many in a list": '{"w":["F32",[64,64],[0,16384],0]}',
    "dtype as a variant": '{"w":{"dtype":{"F32":null},"shape":[64,64],"data_offsets":[0,16384]}}',
    "dtype a number": '{"w":{"dtype":11,"shape":[64,64],"data_offsets":[0,16384]}}',
    "dtype in small letters": '{"w":{"dtype":"f32","shape":[64,64],"data_offsets":[0,16384]}}',
    "spaces before": f' \n\t{{"w":{ENTRY}}}',
    "spaces after": f'{{"w":{ENTRY}}}\n \t',
    "a byte order mark": f'\ufeff{{"w":{ENTRY}}}',
    "zeros after": f'{{"w":{ENTRY}}}\0',
    "no name": f'{{"":{ENTRY}}}',
    "a zero in a name": f'{{"a\\u0000b":{ENTRY}}}',
    "both halves of a character": f'{{"w\\ud83d\\ude00":{ENTRY}}}',
    "half a character in a name": f'{{"w\\ud83d":{ENTRY}}}',
    "the other half": f'{{"w\\uDE00":{ENTRY}}}',
    "halves the wrong way round": f'{{"w\\ude00\\ud83d":{ENTRY}}}',
    "half a character in metadata": f'{{"__metadata__":{{"tag":"cut \\ud83d off"}},"w":{ENTRY}}}',
    "half a character in a metadata name": f'{{"__metadata__":{{"\\uD83D":"x"}},"w":{ENTRY}}}',
    "half a character in a field": f'{{"w":{{{FIELDS},"x":"\\ud83d"}}}}',
    "a backslash before what looks like one": f'{{"w\\\\ud83d":{ENTRY}}}',
    "a fraction as offset": '{"w":{"dtype":"F32","shape":[64,64],"data_offsets":[0.0,16384]}}',
    "a power of ten as length": '{"w":{"dtype":"F32","shape":[6.4e1,64],"data_offsets":[0,16384]}}',
    "three offsets": '{"w":{"dtype":"F32","shape":[64,64],"data_offsets":[0,16384,16384]}}',
    "empty tensors anywhere": f'{{{EMPTY % (0, 0)},"w":{ENTRY},"f":{{"dtype":"U8","shape":[3,0],"data_offsets":[16384,16384]}}}}',
    "an empty tensor inside another": f'{{{EMPTY % (8, 8)},"w":{ENTRY}}}',
    "an empty tensor behind the end": f'{{{EMPTY % (16388, 16388)},"w":{ENTRY}}}',
}  # fmt: skip


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_is_read_where_the_library_reads_it(what: str, tmp_path: Path) -> None:
    header = HEADERS[what].encode()
    source = tmp_path / "a.safetensors"
    source.write_bytes(len(header).to_bytes(8, "little") + header + DATA)
    try:
        theirs = dict(safetensors.deserialize(source.read_bytes()))
    except safetensors.SafetensorError:
        with pytest.raises(TerselyError, match=r"a\.safetensors") as caught:
            tersely.load_file(source)
        str(caught.value).encode()  # can be shown
        with pytest.raises(TerselyError):
            tersely.compress(source, tmp_path / "b.safetensors")
        assert list(tmp_path.iterdir()) == [source]
        return
    ours = tersely.load_file(source)
    assert {name: tensor.decode().tobytes() for name, tensor in ours.items()} == {
        name: bytes(info["data"]) for name, info in theirs.items()
    }
    tersely.compress(source, tmp_path / "b.safetensors", objective="size")
    assert sorted(tersely.load_file(tmp_path / "b.safetensors", check="full")) == sorted(theirs)
    tersely.decompress(tmp_path / "b.safetensors", tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == source.read_bytes()


def test_half_a_character_is_named_by_its_byte(tmp_path: Path) -> None:
    header = HEADERS["half a character in metadata"].encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + DATA)
    with pytest.raises(CorruptError, match="half a character") as caught:
        tersely.open(path)
    assert path.read_bytes()[caught.value.file_byte :].startswith(b"\\ud83d")


def test_half_a_character_never_reaches_a_file(tmp_path: Path) -> None:
    array = np.zeros(4, np.float32)
    for tensors, metadata in (
        ({"w\ud83d": array}, None),
        ({"w": array}, {"tag": "\udc00"}),
        ({"w": array}, {"\udc00": "x"}),
    ):
        with pytest.raises(ArgumentError, match="half a character"):
            tersely.save_file(tensors, tmp_path / "a.safetensors", metadata)
    assert not list(tmp_path.iterdir())


def test_what_is_kept_of_a_header_without_metadata_is_none(tmp_path: Path) -> None:
    header = HEADERS["metadata null"].encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + DATA)
    tersely.compress(path, tmp_path / "b.safetensors")
    assert tersely.open(tmp_path / "b.safetensors").metadata == {}
    assert set(json.loads(HEADERS["metadata null"])) == {"__metadata__", "w"}

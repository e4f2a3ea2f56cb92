"""A unit of shares: the table of the paper of 2022, by layer: Huffman, and its two sequences in a wavelet tree.

HF: Huffman codes; E: element-wise, a delimiter after every weight; B: block-wise, one after every block; each in percent of
float32, tables and directories included (benchmarks.peers.wavelet, our plain implementation).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.evidence import networks, states
from benchmarks.peers import wavelet
from tersely.core.choices import StorageLevel
from tersely.core.dtypes import of_array, raw_bytes
from tersely.storage import codec
from tersely.storage.codec import Item

LEVEL: StorageLevel = "max"


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """layers: of each its weights and HF, E, B and ours, in percent of float32."""
    models = Path(unit["models"]) if unit["models"] else None
    whole = networks.sample(unit["network"], unit["source"], models, unit["sample_bytes"])
    layers = []
    for name, array in states.made(whole, unit["step"]).items():
        if not states.is_weight(array):
            continue
        item = Item(raw_bytes(array), of_array(array), array.shape)
        ours = {"tersely": 100 * len(codec.encode([item], LEVEL, 1)) / (4 * array.size)}
        layers.append({"layer": name, "weights": int(array.size), **wavelet.shares(array), **ours})
    return {"layers": layers}

"""A unit of predictions: a trained network on 1,000 labelled images, by PyTorch and by pipelines on its coded weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tersely.torch
from benchmarks import cifar
from tersely.core.choices import OBJECTIVES

BATCH = 100


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """accuracy of PyTorch's; by objective the predictions that are equal, and the largest difference of outputs, of the
    largest."""
    model = cifar.trained(unit["network"], Path(unit["models"]))
    images, labels = cifar.test_images(Path(unit["models"]))
    batches = torch.from_numpy(images).split(BATCH)
    with torch.inference_mode():
        expected = torch.cat([model(one) for one in batches]).numpy()
    found: dict[str, Any] = {"images": len(labels), "accuracy": float((expected.argmax(1) == labels).mean())}
    for objective in OBJECTIVES:
        pipe = tersely.torch.pipeline(model, (batches[0],), objective=objective)  # type: ignore[arg-type]
        answers = np.concatenate([np.asarray(pipe(one)) for one in batches])
        found[objective] = {
            "equal": int((answers.argmax(1) == expected.argmax(1)).sum()),
            "difference": float(np.abs(answers - expected).max() / np.abs(expected).max()),
        }
    return found

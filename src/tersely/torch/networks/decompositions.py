"""The rules of all families: which calls of aten are other calls."""

from __future__ import annotations

from tersely.torch.networks import decompositions_images, decompositions_places, decompositions_values
from tersely.torch.networks.decomposing import Rule

RULES: dict[str, Rule] = {
    **decompositions_images.RULES,
    **decompositions_places.RULES,
    **decompositions_values.RULES,
}

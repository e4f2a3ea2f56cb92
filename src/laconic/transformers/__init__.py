"""Models of Hugging Face `transformers` on compressed weights.

    import laconic.transformers                                # registers the quantisation method "laconic"
    model = AutoModelForCausalLM.from_pretrained("folder-made-by-laconic-compress")
    model.generate(...)
    model.save_pretrained("again")                             # and loads again

`laconic.transformers` is an adapter between `transformers` and `laconic.torch` and holds no code of its own.
docs/transformers.md has a quick start and what to expect.
"""

from __future__ import annotations

from laconic.transformers import hooks
from laconic.transformers.config import LaconicConfig
from laconic.transformers.quantizer import LaconicHfQuantizer

hooks.install()

__all__ = ["LaconicConfig", "LaconicHfQuantizer"]

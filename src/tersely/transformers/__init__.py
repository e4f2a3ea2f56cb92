"""Models of Hugging Face `transformers` on compressed weights.

    import tersely.transformers                                # registers the quantisation method "tersely"
    model = AutoModelForCausalLM.from_pretrained("folder-made-by-tersely-compress")
    model.generate(...)
    model.save_pretrained("again")                             # and loads again

`tersely.transformers` is an adapter between `transformers` and `tersely.torch` and holds no code of its own.
docs/transformers.md has a quick start and what to expect.
"""

from __future__ import annotations

from tersely.transformers import hooks
from tersely.transformers.config import TerselyConfig
from tersely.transformers.quantizer import TerselyHfQuantizer

hooks.install()

__all__ = ["TerselyConfig", "TerselyHfQuantizer"]

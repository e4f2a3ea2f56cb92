"""`TerselyConfig`: the entry "quantization_config" of a compressed model's config.json, and what one may ask for."""

from __future__ import annotations

from typing import Any

from transformers.quantizers.auto import register_quantization_config
from transformers.utils.quantization_config import QuantizationConfigMixin

from tersely.core.choices import ON_SLOW, Check, Mode, Objective, OnSlow
from tersely.core.errors import ArgumentError
from tersely.files.model_folder import METHOD
from tersely.planner.choose import OBJECTIVES, PROFILES
from tersely.planner.profiles import CALIBRATED
from tersely.torch.weight.tersely_tensor import CLASSES

_OF_THE_SESSION = ("mode", "on_slow", "check")


@register_quantization_config(METHOD)
class TerselyConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """How weights are compressed and how they are used.

    Args:
        objective, profile: for `from_pretrained` of a dense folder, which is compressed after loading; in a compressed
            folder they say how it was made. mode: 'fused' multiplies codes; 'identical' decodes and calls torch's
            operator. on_slow: what to do with weights packed for a faster class of machine: 'keep', 'transcode', 'decode'.
        check: how deep files are checked: 'structure', 'checksums' or 'full'.
        original: the entry of a model that was quantised before it was compressed; such models are not loaded.

    Raises ArgumentError for a value it does not know. Keys of later versions are ignored.
    """

    def __init__(
        self,
        objective: Objective = "balanced",
        profile: str = "native",
        mode: Mode = "fused",
        on_slow: OnSlow = "keep",
        check: Check = "structure",
        format: str | None = None,
        original: dict[str, Any] | None = None,
        **later: Any,
    ) -> None:
        for name, value, known in (
            ("objective", objective, OBJECTIVES),
            ("profile", profile, (*PROFILES, CALIBRATED)),
            ("mode", mode, tuple(CLASSES)),
            ("on_slow", on_slow, ON_SLOW),
            ("check", check, ("structure", "checksums", "full")),
        ):
            if value not in known:
                raise ArgumentError(f"unknown {name} {value!r}: use one of {', '.join(known)}")
        self.quant_method = METHOD
        self.objective, self.profile = objective, profile
        self.mode, self.on_slow, self.check = mode, on_slow, check
        self.format, self.original = format, original

    def to_dict(self) -> dict[str, Any]:
        """Returns what config.json holds: not what was only asked for at this loading."""
        return {key: value for key, value in self.__dict__.items() if key not in _OF_THE_SESSION and value is not None}

    def get_loading_attributes(self) -> dict[str, Any]:
        """Returns what `from_pretrained(..., quantization_config=...)` overrides for a compressed folder."""
        return {name: getattr(self, name) for name in _OF_THE_SESSION}

"""The quantisation method "tersely" of transformers: loads compressed folders and saves compressed models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.quantizers.auto import register_quantizer
from transformers.quantizers.base import HfQuantizer

import tersely.torch
from tersely.core.errors import TerselyError
from tersely.files.folder import tensor_of
from tersely.files.model_folder import METHOD
from tersely.torch import TerselyTensor
from tersely.torch.modules.compression import parameters_of, put
from tersely.torch.weight.weight_storage import Dense
from tersely.transformers import saving, versions
from tersely.transformers.config import TerselyConfig


@register_quantizer(METHOD)
class TerselyHfQuantizer(HfQuantizer):  # type: ignore[misc]
    """What transformers asks of a quantisation method. Weights are TerselyTensors; nothing is rounded."""

    quantization_config: TerselyConfig
    requires_calibration = False

    def __init__(self, quantization_config: TerselyConfig, **kwargs: Any) -> None:
        super().__init__(quantization_config, **kwargs)
        self.conversions: Any = None
        self.given: Mapping[str, Tensor] | None = None

    # -- loading ---------------------------------------------------------------------------------------------------

    def validate_environment(self, *args: Any, device_map: Any = None, **kwargs: Any) -> None:
        """Raises TerselyError for models that were quantised before they were compressed, and for weights on disk."""
        original = self.quantization_config.original
        if original is not None:
            raise TerselyError(
                f"this folder holds a model quantised with {original.get('quant_method', 'a method of its own')!r} whose "
                "files tersely compressed: run 'tersely decompress FOLDER -o OUT' and load OUT"
            )
        places = device_map.values() if isinstance(device_map, Mapping) else [device_map]
        if "disk" in {str(place) for place in places}:
            raise TerselyError("compressed weights are mapped from their file already: drop 'disk' from device_map")

    def read(self, files: Sequence[str], index: Mapping[str, str]) -> dict[str, Tensor]:
        """Returns all weights of a compressed folder's files, mapped. One that several files have comes from where the index has it.

        Raises TerselyError naming file, tensor and byte.
        """
        wanted = self.quantization_config
        assigned = {tensor_of(key): name for key, name in index.items()}
        tensors: dict[str, Tensor] = {}
        for file in files:
            found = tersely.torch.load_file(file, mode=wanted.mode, check=wanted.check, on_slow=wanted.on_slow)
            name = Path(file).name
            tensors |= {key: tensor for key, tensor in found.items() if assigned.get(key, name) == name}
        return tensors

    def update_dtype(self, dtype: Any) -> Any:
        """Reads the dtype of a folder whose config.json has none from its weights, where transformers only sees bytes.

        transformers 4 asks earlier, with what the caller gave: nothing means the stored dtype, not float32 as there.
        """
        if dtype is None and self.pre_quantized and versions.FOUR:
            return "auto"
        return dtype if not isinstance(dtype, torch.dtype) or dtype.is_floating_point else torch.get_default_dtype()

    def get_new_dtype(self, converter: Any, param: Any, dtype: Any) -> Any:
        if isinstance(param, TerselyTensor):
            return None if param.dtype == dtype else dtype
        return super().get_new_dtype(converter, param, dtype)

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> None:
        """Nothing to prepare; transformers 4 insists on being told."""

    def _convert_model_for_quantization(self, model: Any) -> None:
        """No module is exchanged; transformers 4 would import accelerate to find that out."""

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        if not self.pre_quantized:
            wanted = self.quantization_config
            tersely.torch.compress_(model, objective=wanted.objective, profile=wanted.profile, mode=wanted.mode)
        for use in parameters_of(model):
            weight = use.parameter
            if not isinstance(weight, TerselyTensor):
                continue
            weight.was_trainable = True
            # Cast while loading, to a dtype that was asked for; or written to by its owner at each call, as under max_norm.
            if isinstance(weight.storage_, Dense) or use.reason:
                put(use, nn.Parameter(weight.decode().detach()))
        # Saving undoes them before tensors become bytes; transformers would do it afterwards.
        self.conversions = getattr(model, "_weight_conversions", None)
        model._weight_conversions = []
        return model

    # -- saving and leaving ----------------------------------------------------------------------------------------

    def get_state_dict_and_metadata(self, model: Any, *_: Any, **__: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
        return saving.stand_ins(model, self.given, self.conversions), {}

    def is_serializable(self, *_: Any, **__: Any) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        """Adapters train on top: gradients pass through compressed weights, which are frozen themselves."""
        return True

    @property
    def is_compileable(self) -> bool:
        return True

    def _dequantize(self, model: Any, dtype: Any = None) -> Any:
        tersely.torch.decompress_(model)
        return model

    def remove_quantization_config(self, model: Any) -> None:
        super().remove_quantization_config(model)
        if self.conversions is not None:
            model._weight_conversions = self.conversions

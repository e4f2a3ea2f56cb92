"""ONNX models as sources: where in the files their weights lie. Needs no other package; holds no code and no format.

wire      protobuf, as far as its lengths
tensors   one TensorProto: type, shape, range of bytes
graph     all of them, their names, and which matrices a product reads as [inputs, outputs]
external  data in files beside the model
model     the source that `tersely.compress` takes
"""

from tersely.files.foreign.onnx.model import SUFFIX, open_model

__all__ = ["SUFFIX", "open_model"]

#!/usr/bin/env bash
# OpenVINO 2026.4.1: bfloat16 weights of an ONNX model that lie in int32_data, where onnx.helper.make_tensor puts them, are
# read as integers: the bits of 1.0 become the number 16256. uint32 numbers, which lie in uint64_data, are read in halves.
# The same numbers in raw_data are right, onnxruntime reads both, and nothing is raised.
# Seen: "BFLOAT16 [1.0, -2.0, 3.0]: onnxruntime [1.0, -2.0, 3.0], openvino [16256.0, 49152.0, 16384.0]",
# "UINT32 [1, 2, 3]: onnxruntime [1.0, 2.0, 3.0], openvino [1.0, 0.0, 2.0]", and raw_data right in both.
. "$(dirname "$0")/common.sh"
packages numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$python" -W ignore - <<'PYTHON'
import sys
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, checker, helper, numpy_helper


def both(weights):
    nodes = [helper.make_node("Cast", ["w"], ["c"], to=TensorProto.FLOAT), helper.make_node("Add", ["c", "x"], ["y"])]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])] for name in "xy"]
    graph = helper.make_graph(nodes, "g", *ends, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(model, full_check=True)
    data, x = model.SerializeToString(), np.zeros(3, np.float32)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return onnxruntime.InferenceSession(data).run(None, {"x": x})[0].tolist(), compiled(x)[0].tolist()


seen = []
for kind, values in (("BFLOAT16", [1.0, -2.0, 3.0]), ("UINT32", [1, 2, 3])):
    typed = helper.make_tensor("w", getattr(TensorProto, kind), [3], values)
    raw = numpy_helper.from_array(numpy_helper.to_array(typed), "w")
    for form, weights in (("", typed), (" raw", raw)):
        one, other = both(weights)
        print(f"{kind}{form} {values}: onnxruntime {one}, openvino {other}")
        seen.append(one == values and (other == values) == bool(form))
sys.exit(0 if all(seen) else 1)
PYTHON

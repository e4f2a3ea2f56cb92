#!/usr/bin/env bash
# onnxruntime 1.32.0, CPU: Cast and QuantizeLinear to float8 with saturate=0 overflow with gaps. What rounds beyond the 448
# of float8e4m3fn becomes NaN, as the standard says, but from 480 up to 496 it becomes 448. What rounds beyond the 57344 of
# float8e5m2 should become infinity, but from 61440 up to 65536 it becomes NaN; 65504, the largest float16, is one of those.
# onnx's own reference has no such gaps, and with saturate=1, the default, onnxruntime has none.
# Seen: "FLOAT8E4M3FN [448, 470, 488, 500]: onnxruntime [448.0, nan, 448.0, nan], reference [448.0, nan, nan, nan]",
# "FLOAT8E5M2 [57344, 62000, 65504, 66000]: onnxruntime [57344.0, nan, nan, inf], reference [57344.0, inf, inf, inf]".
. "$(dirname "$0")/common.sh"
packages numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$python" -W ignore - <<'PYTHON'
import sys
import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def both(kind, values):
    nodes = [
        helper.make_node("Cast", ["x"], ["small"], to=getattr(TensorProto, kind), saturate=0),
        helper.make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT),
    ]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(values)])] for name in "xy"]
    graph = helper.make_graph(nodes, "g", *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feed = {"x": np.array(values, np.float32)}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, feed)[0], ReferenceEvaluator(model).run(None, feed)[0]


nan, inf = np.nan, np.inf
seen = []
for kind, values, wanted in (
    ("FLOAT8E4M3FN", [448, 470, 488, 500], ([448, nan, 448, nan], [448, nan, nan, nan])),
    ("FLOAT8E5M2", [57344, 62000, 65504, 66000], ([57344, nan, nan, inf], [57344, inf, inf, inf])),
):
    found = both(kind, values)
    print(f"{kind} {values}: onnxruntime {found[0].tolist()}, reference {found[1].tolist()}")
    seen.append(np.array_equal(found, wanted, equal_nan=True))
sys.exit(0 if all(seen) else 1)
PYTHON

"""ONNX models as pipelines: what an ONNX model computes, on compressed weights. Needs no other package.

lengths    lengths of axes that are not known yet: polynomials of names
arrays     tensors of a model as arrays
model      nodes, attributes, inputs and initialisers, read from protobuf
values     what is known of a value: its shape, its dtype, its numbers where it is a constant
call       what the translation of one node sees and writes to
shapes, parts, pointwise, images, products, quantised   operators of ONNX as ours, a family each
ramps      integers up to a length that is not known, by which exporters read whole tensors
folding    operators on constants and on lengths, in NumPy, as ONNX defines them
importer   a model as a graph
patterns   activations, norms and attention that exporters took apart, put together again
pipeline   the way in
"""

from tersely.onnx.pipeline import pipeline as pipeline

__all__ = ["pipeline"]

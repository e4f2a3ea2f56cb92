"""The file: a valid safetensors file whose coded tensors are sets of U8 components. Knows `Encoded`, no formulation."""

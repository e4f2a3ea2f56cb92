"""Files that are not safetensors: where in them tensors lie, and how they are written again."""

"""The CPU: the native module, its instruction sets and threads, and what the machine allows.

C++ beside it: `base` (detection, dispatch, workers), `kernels` (one folder for each instruction set), `bindings`.
"""

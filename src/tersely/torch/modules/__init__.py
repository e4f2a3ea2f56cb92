"""Compressing the weights of modules: settings, what is decided from them, int8 layers, and the summary."""

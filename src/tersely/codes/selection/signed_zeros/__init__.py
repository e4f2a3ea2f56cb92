"""Zeros of either sign: the signs are a stream of their own, and every other formulation sees clean zeros."""

"""Blocks of a tensor that is nearly another one of its file: the differences of their words."""

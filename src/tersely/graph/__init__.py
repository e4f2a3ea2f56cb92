"""Whole networks as graphs: operators and constants, no framework; passes, and programs for the native executor."""

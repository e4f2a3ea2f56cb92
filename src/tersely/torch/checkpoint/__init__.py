"""Saving and loading: files of tersely, whole modules, and state dicts for other writers."""

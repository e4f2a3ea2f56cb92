"""A coded tensor in Python: made from an array, decoded, multiplied."""

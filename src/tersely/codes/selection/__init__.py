"""Which weights have a value: what is left out, where it was, and what the others are."""

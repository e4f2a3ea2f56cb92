"""A network drawn: nodes in layers, each coloured by its share of the time."""

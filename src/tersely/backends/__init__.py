"""Where products are computed. One folder for each kind of processor."""

"""How a weight's word comes of small symbols: by its exponent, by a table, by scale and number, or as it is."""

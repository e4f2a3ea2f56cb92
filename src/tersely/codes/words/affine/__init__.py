"""`affine`: weights that are scale x (number - zero), with a scale for each row or each group of a row's columns."""

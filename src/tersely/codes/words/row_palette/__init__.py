"""`row_palette`: weights of few distinct words in each row, or in each group of a row's columns."""

"""`submatrix`: the rows and columns of a matrix that hold anything, as a matrix of their own."""

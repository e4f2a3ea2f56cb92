"""What a compressed weight is: where its codes lie, how it multiplies, and the tensor class that modules hold."""

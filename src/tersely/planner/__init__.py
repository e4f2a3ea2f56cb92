"""Which formulation a tensor gets: candidates with exact sizes, predicted times, one choice each within a limit."""

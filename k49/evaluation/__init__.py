"""How good predictions are, in figures and in pictures."""

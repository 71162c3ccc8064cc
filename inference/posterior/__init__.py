"""What a fit says of rows, experts and parameters: predictions, draws, coefficients."""

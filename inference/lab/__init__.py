"""Bias and noise of the treatments' gradients, on the user's own model."""

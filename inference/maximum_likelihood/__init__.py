"""Maximum likelihood until the gradient vanishes, and the errors of what is found."""

"""One step of an optimiser: eagerly, captured as a graph or compiled, of one restart or several."""

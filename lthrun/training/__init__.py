"""One training: state, steps, epochs."""

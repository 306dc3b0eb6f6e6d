"""Privacy: what is kept at rest, encrypted."""

"""Models of other libraries behind ``Model(init, apply)``."""

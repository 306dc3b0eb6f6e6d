"""Training at scale: precision. The core imports none of it."""

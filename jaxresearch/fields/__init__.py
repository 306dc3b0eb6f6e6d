"""What one field of research needs beyond the core; the core imports none of it."""

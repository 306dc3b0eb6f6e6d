"""The same work done by the peers and by us, side by side in one run: ``make bench``."""

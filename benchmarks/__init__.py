"""The same training jobs in this package and its peers, side by side: ``make bench``."""

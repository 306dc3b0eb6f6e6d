"""Images: features that are computed from each image alone."""

from jaxresearch.fields.images.deslanting import deslanted
from jaxresearch.fields.images.preprocess import scattered
from jaxresearch.fields.images.scattering import scattering

__all__ = ["deslanted", "scattered", "scattering"]

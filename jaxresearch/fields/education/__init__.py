"""Education: growth curves of pupils in schools, and what answers say about who knows what."""

from jaxresearch.fields.education.growth import (
    extrapolations,
    growth_forecast,
    growth_likelihood,
    growth_params,
    with_last_scores,
)
from jaxresearch.fields.education.scores import known_scores, last_scores

__all__ = [
    "extrapolations",
    "growth_forecast",
    "growth_likelihood",
    "growth_params",
    "known_scores",
    "last_scores",
    "with_last_scores",
]

"""Education: growth curves of pupils in schools, and what answers say about who knows what."""

from jaxresearch.fields.education.answers import answer_sequences
from jaxresearch.fields.education.growth import (
    extrapolations,
    growth_forecast,
    growth_likelihood,
    growth_params,
    with_last_scores,
)
from jaxresearch.fields.education.scores import known_scores, last_scores
from jaxresearch.fields.education.tracing import (
    answer_losses,
    bayesian_tracing,
    deep_tracing,
    item_rates,
    item_response,
    previous_answers,
)

__all__ = [
    "answer_losses",
    "answer_sequences",
    "bayesian_tracing",
    "deep_tracing",
    "extrapolations",
    "growth_forecast",
    "growth_likelihood",
    "growth_params",
    "item_rates",
    "item_response",
    "known_scores",
    "last_scores",
    "previous_answers",
    "with_last_scores",
]

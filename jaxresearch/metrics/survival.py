"""Metrics of times to an event, where the last visit without one censors the time."""

import jax
import jax.numpy as jnp

from jaxresearch.metrics.metric import Metric, checked_weights


def concordance() -> Metric:
    r"""Returns Harrell's C: how often, of two patients, the one with the higher predicted risk has the event first, 0 to 1.

    .. math:: \frac{\sum_{ij} w_i w_j c_{ij} ([r_i > r_j] + [r_i = r_j] / 2)}{\sum_{ij} w_i w_j c_{ij}}, \quad
        c_{ij} = [\text{event}_i] \, ([t_i < t_j] + [t_i = t_j] [\text{no event}_j])

    Only pairs count in which it is known who had the event first. A value of 0.5 is chance. All pairs are compared at once:
    memory grows with the square of the number of patients. The summary holds every patient, since pairs do not add.

    Returns:
        A metric of risks ``(batch, 1)`` and targets ``(batch, 2)``, time and event (1, or 0 for the last visit without one);
        its value is a scalar, nan without a pair to compare.

    Raises:
        ValueError: When called, if a shape does not match.

    Example:
        >>> risks, targets = jnp.array([[3.0], [1.0], [2.0]]), jnp.array([[5.0, 1.0], [9.0, 0.0], [7.0, 1.0]])
        >>> float(concordance()(risks, targets)), float(concordance()(-risks, targets))
        (1.0, 0.0)

    References:
        Harrell, Lee and Mark (1996), Multivariable prognostic models, Stat. Med. 15(4), section 5.5.
        https://doi.org/10.1002/(SICI)1097-0258(19960229)15:4%3C361::AID-SIM168%3E3.0.CO;2-4
    """

    def summarise(predictions, targets, weights=None):
        if predictions.shape[1:] != (1,) or targets.shape != (len(predictions), 2):
            raise ValueError(
                "concordance must have risks (batch, 1) and targets (batch, 2), time and event; got shapes "
                f"{predictions.shape} and {targets.shape}. Give the model one output."
            )
        weights = checked_weights(predictions, targets, weights, expected=(len(predictions), 2))
        is_unknown = jnp.isnan(predictions[:, 0]) | jnp.any(jnp.isnan(targets), axis=1)
        return predictions[:, 0], targets, jnp.where(is_unknown & (weights != 0), jnp.nan, weights)

    def merge(summaries):
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), summaries)

    def compute(summary):
        risks, (times, events), weights = summary[0], summary[1].T, summary[2]
        is_later = (times[:, None] < times[None]) | ((times[:, None] == times[None]) & (events[None] == 0))
        compared = jnp.where((events[:, None] > 0) & is_later, 1.0, 0.0)
        wins = jnp.where(risks[:, None] > risks[None], 1.0, jnp.where(risks[:, None] == risks[None], 0.5, 0.0))
        n_won, n_pairs = (
            jnp.sum(weights * jnp.matmul(pairs, weights, precision=jax.lax.Precision.HIGHEST))
            for pairs in (compared * wins, compared)
        )
        return n_won / n_pairs

    return Metric(summarise, merge, compute)

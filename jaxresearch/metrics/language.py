"""Metrics of language models: logits ``(batch, length, classes)`` against tokens ``(batch, length)``.

A target below 0 marks a token that is not scored: padding, or the prompt. Weights are per sequence, as for other metrics.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from jaxresearch.metrics.metric import Metric, checked_weights, masked, negative_log_likelihood, summed


def per_token(metric: Metric) -> Metric:
    """Returns the metric with each scored token as an example, weighted as its sequence.

    ``per_token(log_loss())`` is the mean loss in nats per token; its exponential is the perplexity.

    Args:
        metric: Of logits ``(n, classes)`` and integer targets ``(n,)``.

    Returns:
        A metric of logits ``(batch, length, classes)`` and integer targets ``(batch, length)``, with the values of ``metric``.

    Raises:
        ValueError: When called, if the logits lack an axis of tokens, the shapes do not match or the targets are not integers.

    Example:
        >>> from jaxresearch.metrics import accuracy
        >>> logits, targets = jnp.array([[[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]), jnp.array([[0, 0, -1]])
        >>> float(per_token(accuracy())(logits, targets))
        0.5
    """

    def summarise(logits, targets, weights=None):
        weights = _token_weights(logits, targets, weights)
        # Unscored tokens have weight 0, and get any valid class so that they do not count as unknown.
        targets = jnp.maximum(targets, 0)
        return metric.summarise(logits.reshape(-1, logits.shape[-1]), targets.ravel(), weights.ravel())

    return dataclasses.replace(metric, summarise=summarise)


def bits_per_byte(n_bytes: Integer[np.ndarray, " classes"]) -> Metric:
    r"""Returns the bits that the model needs per byte of text, for any vocabulary.

    .. math:: \frac{-\sum_t w_t \log_2 p_t}{\sum_t w_t b_t}

    over the scored tokens t, of b bytes each. Unlike the loss per token, it can be compared across vocabularies. A token of
    0 bytes (the end of a document) adds bits but no bytes; nan if no bytes are scored.

    Args:
        n_bytes: Number of bytes of text of each token, 0 or more; may be traced, and is then not checked.

    Returns:
        A metric of logits ``(batch, length, classes)`` and integer targets ``(batch, length)``; its value is a scalar, at
        least 0.

    Raises:
        ValueError: If ``n_bytes`` is not a vector of integers of at least 0; when called, if its length is not the number
            of classes, or as in `per_token`.

    Example:
        >>> logits, targets = jnp.zeros((1, 2, 4)), jnp.array([[3, 0]])
        >>> float(bits_per_byte(np.array([1, 1, 1, 3]))(logits, targets))
        1.0

    References:
        Gao et al. (2020), The Pile: an 800GB dataset of diverse text for language modeling, section 3.1.
        https://arxiv.org/abs/2101.00027
    """
    n_bytes = n_bytes if isinstance(n_bytes, jax.Array) else np.asarray(n_bytes)
    if n_bytes.ndim != 1 or n_bytes.dtype.kind not in "iu":
        raise ValueError(
            f"n_bytes must be integers of shape (classes,); got {n_bytes.dtype} {n_bytes.shape}. Pass one per token id."
        )
    if isinstance(n_bytes, np.ndarray) and np.any(n_bytes < 0):
        raise ValueError(f"n_bytes must be 0 or more; got {n_bytes.min()}. Pass 0 for a token without text.")

    def summarise(logits, targets, weights=None):
        weights = _token_weights(logits, targets, weights)
        if logits.shape[-1] != len(n_bytes):
            raise ValueError(
                f"n_bytes must have one entry for each of {logits.shape[-1]} classes; got {len(n_bytes)}. "
                "Pass the lengths for the vocabulary that the model was trained on."
            )
        nats = negative_log_likelihood(logits, targets)
        sizes = jnp.asarray(n_bytes, jnp.float32)[jnp.clip(targets, 0, len(n_bytes) - 1)]
        return jnp.sum(masked(weights, nats)), jnp.sum(masked(weights, sizes))

    def compute(summary):
        nats, size = summary
        return jnp.where(size > 0, nats / (math.log(2) * jnp.where(size > 0, size, 1)), jnp.nan)

    return Metric(summarise, summed, compute)


def _token_weights(logits: Array, targets: Array, weights: Array | None) -> Float[Array, "batch length"]:
    """Returns the weight of each token, 0 if it is not scored, after checking the logits and targets."""
    if logits.ndim != 3:
        raise ValueError(
            f"predictions must have shape (batch, length, classes); got {logits.shape}. Pass a logit per token id."
        )
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(f"targets must be integers; got {targets.dtype}. Pass token ids, not one-hot.")
    weights = checked_weights(logits, targets, weights, expected=logits.shape[:2])
    return jnp.where(targets >= 0, weights[:, None], 0.0)

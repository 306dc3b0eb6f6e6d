"""Masked language models: the loss of predicting hidden tokens, and pre-training with it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Integer

from jaxresearch import gradients, metrics, training
from jaxresearch.fields.text import masking
from jaxresearch.gradients import LossFn
from jaxresearch.losses import softmax_cross_entropy_with_integer_labels
from jaxresearch.models import Model
from jaxresearch.training import Algorithm, EstimatorOf


def mean_token_loss(
    logits: Float[Array, "batch length classes"],
    targets: Integer[Array, "batch length"],
    weights: Float[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    r"""Returns the mean cross entropy of the tokens of a batch that have a target, in nats.

    .. math:: \sum_{it} w_i \ell_{it} / \sum_{it} w_i \quad \text{over } y_{it} \ge 0

    Args:
        logits: Of the classes of each token.
        targets: Classes, below 0 where a token has none.
        weights: One per sequence, at least 0; 1 by default.

    Returns:
        A scalar: each token counts the same, however many its sequence has. 0 if no token has a target.

    Example:
        >>> logits, targets = jnp.zeros((2, 2, 4)), jnp.array([[3, -1], [-1, -1]])
        >>> round(float(mean_token_loss(logits, targets)), 4)
        1.3863
    """
    entropies = softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(targets, 0))
    chosen = (targets >= 0).astype(entropies.dtype)
    if weights is not None:
        chosen *= weights[..., None]
    return jnp.where(chosen > 0, chosen * entropies, 0).sum() / jnp.where(chosen.any(), chosen.sum(), 1)


def masked_language_model(
    model: Model,
    *,
    maskable: Callable[[Integer[Array, "batch length"]], Bool[Array, "batch length"]] | None = None,
    **corruption: Any,
) -> LossFn:
    r"""Returns the loss_fn of a model that predicts hidden tokens: their mean cross entropy, in nats.

    .. math:: L = -\frac{1}{|C|} \sum_{(i, t) \in C} \log p_{it}(x_{it})

    where :math:`C` are the tokens that `jaxresearch.fields.text.masking.masked_tokens` chose in this batch, drawn anew at each
    step. It is for training only: without a key no tokens can be hidden.

    Args:
        model: Maps tokens ``(batch, length)`` to logits ``(batch, length, vocabulary)``; applied with a key.
        maskable: ``tokens -> booleans``: False where a token of ``batch["inputs"]`` must stay and not be predicted
            (padding, specials); by default all may be chosen.
        **corruption: Options of `jaxresearch.fields.text.masking.masked_tokens`: ``n_tokens``, ``mask_token`` and others.

    Returns:
        ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``, with no metrics. The loss is 0 if no token was
        chosen, and weighted by example if the batch has ``weights``.

    Raises:
        ValueError: If ``maskable`` is not a function; when called, if there is no key, or as for `masked_tokens`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import models
        >>> model = models.function(lambda key: {}, lambda params, tokens: jnp.zeros((*tokens.shape, 5)))
        >>> loss_fn = masked_language_model(model, n_tokens=3, mask_token=4, maskable=lambda tokens: tokens != 3)
        >>> loss, _ = loss_fn({}, {}, {"inputs": jnp.ones((8, 100), int)}, jax.random.key(0))
        >>> bool(jnp.isclose(loss, jnp.log(5)))
        True

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, section 3.1. https://arxiv.org/abs/1810.04805
    """
    if maskable is not None and not callable(maskable):
        raise ValueError(
            f"maskable must be a function of the tokens; got {type(maskable).__name__}. Pass lambda tokens: tokens != padding."
        )

    def loss_fn(params, model_state, batch, key=None):
        if key is None:
            raise ValueError(
                "key must be given, since tokens are hidden at random; got None. Evaluate with masked_examples."
            )
        of_mask, of_model = jax.random.split(key)
        tokens = batch["inputs"]
        may_hide = None if maskable is None else maskable(tokens)
        hidden, asked = masking.masked_tokens(of_mask, tokens, maskable=may_hide, **corruption)
        logits, model_state = model.apply(params, model_state, hidden, of_model)
        return mean_token_loss(logits, asked, batch.get("weights")), ({}, model_state)

    return loss_fn


def masked_pretraining(
    model: Model,
    *,
    optimizer: optax.GradientTransformation,
    estimator: EstimatorOf = gradients.plain,
    evaluation_batch: int = 1000,
    **corruption: Any,
) -> Algorithm:
    """Returns the algorithm that pre-trains a model by hiding tokens from it.

    It trains on ``inputs`` alone, by `masked_language_model`, and is evaluated on tokens that were hidden beforehand, by
    `jaxresearch.fields.text.masking.masked_examples`: in ``error``, the fraction of them that the model gets wrong, and
    ``log_loss``, in nats per hidden token.

    Args:
        model: Maps tokens ``(batch, length)`` to logits ``(batch, length, vocabulary)``.
        optimizer: Any Optax transformation.
        estimator: Makes the gradient estimator from the loss_fn; `jaxresearch.training.Plan.estimator` in an experiment.
        evaluation_batch: Examples evaluated at a time, 1 or more.
        **corruption: As for `masked_language_model`.

    Returns:
        An algorithm whose state is a `jaxresearch.training.TrainState`.

    Raises:
        ValueError: If ``evaluation_batch`` is not positive; when it trains, as `masked_language_model` does.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from jaxresearch import models
        >>> model = models.function(lambda key: jnp.eye(5), lambda params, tokens: params[tokens])
        >>> algorithm = masked_pretraining(model, optimizer=optax.adam(1e-3), n_tokens=4, mask_token=4)
        >>> tokens = jax.random.randint(jax.random.key(0), (6, 8), 0, 4)
        >>> state, values = jax.jit(algorithm.step)(algorithm.init(jax.random.key(1)), {"inputs": tokens}, jax.random.key(2))
        >>> hidden = masking.masked_examples(jax.random.key(3), tokens, n_tokens=4, mask_token=4)
        >>> sorted(values), sorted(jax.jit(algorithm.evaluate)(state, hidden, jax.random.key(4)))
        (['loss'], ['error', 'log_loss'])
    """
    return training.gradient_based(
        model,
        masked_language_model(model, **corruption),
        optimizer=optimizer,
        metrics={
            "error": metrics.error(metrics.per_token(metrics.accuracy())),
            "log_loss": metrics.per_token(metrics.log_loss()),
        },
        estimator=estimator,
        evaluation_batch=evaluation_batch,
    )

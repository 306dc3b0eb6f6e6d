"""Classifiers that decide together."""

import jax
import jax.numpy as jnp

from jaxresearch.models.model import Model, require_sizes


def ensemble(model: Model, *, n_members: int) -> Model:
    r"""Returns several classifiers of one kind, whose evaluation is the mean of their probabilities.

    .. math:: \log \frac{1}{n} \sum_m \text{softmax}(z_m(x))

    In training a batch is dealt out: member :math:`m` of n sees examples m, m + n, ... and gives their logits. So the members
    learn apart from each other, by any loss that is a mean over examples; a step costs what a step of one member costs, and
    as many epochs more are needed as there are members. A member's gradient is its own divided by their number, which rules that
    are free of scale (Adam) do not see; others need as large a multiple of the rate.

    Args:
        model: Gives logits.
        n_members: Number of classifiers, 1 or more; it has to divide a batch.

    Returns:
        The model; parameters and state have a leading axis of members, and its evaluation gives log probabilities.

    Raises:
        ValueError: If ``n_members`` is not positive, or (when trained) does not divide the batch.

    Example:
        >>> from jaxresearch import models
        >>> model = ensemble(models.mlp(4, (8,), 3), n_members=5)
        >>> params, model_state = model.init(jax.random.key(0))
        >>> params["Dense_0"]["kernel"].shape, model.apply(params, model_state, jnp.ones((2, 4)))[0].shape
        ((5, 4, 8), (2, 3))

    References:
        Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
        ensembles, NeurIPS, section 2.4. https://arxiv.org/abs/1612.01474
    """
    require_sizes(n_members=n_members)

    def init(key):
        return jax.vmap(model.init)(jax.random.split(key, n_members))

    def apply(params, model_state, inputs, key=None):
        if key is None:
            logits, _ = jax.vmap(model.apply, (0, 0, None))(params, model_state, inputs)
            total = jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0)
            return total - jnp.log(n_members).astype(total.dtype), model_state
        if len(inputs) % n_members:
            raise ValueError(
                f"n_members must divide the batch of {len(inputs)} examples; got {n_members}. Pass a multiple as batch_size."
            )
        dealt = inputs.reshape(-1, n_members, *inputs.shape[1:]).swapaxes(0, 1)
        logits, model_state = jax.vmap(model.apply)(params, model_state, dealt, jax.random.split(key, n_members))
        return logits.swapaxes(0, 1).reshape(len(inputs), *logits.shape[2:]), model_state

    return Model(init, apply)

"""A classifier that is asked many times."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxresearch.models.model import Model, require_sizes


def averaged(key: Key[Array, ""], model: Model, *, n_draws: int) -> Model:
    r"""Returns a classifier whose evaluation is the mean of its probabilities over so many draws of its dropout.

    .. math:: \log \frac{1}{n} \sum_i \text{softmax}(z(x; k_i))

    where :math:`z(x; k)` are the logits with the units that the key :math:`k` leaves out. The draws are the same at every
    call and for every example, whatever batch it comes in, so that the evaluation stays a function of its inputs. In training,
    nothing is changed. Of an `ensemble`, each member is averaged: ``ensemble(averaged(...))``.

    Args:
        key: Of the draws.
        model: Gives logits, and draws dropout from its key. It has no state: batch statistics are no matter of a draw.
        n_draws: Number of draws, 1 or more: each costs one evaluation.

    Returns:
        The model; its evaluation gives log probabilities.

    Raises:
        ValueError: If ``n_draws`` is not positive, or (when called) the model has state.

    Example:
        >>> from jaxresearch import models
        >>> model = averaged(jax.random.key(7), models.mlp(4, (8,), 3, dropout_rate=0.5), n_draws=16)
        >>> logits, _ = model.apply(*model.init(jax.random.key(0)), jnp.ones((2, 4)))
        >>> bool(jnp.allclose(jnp.exp(logits).sum(axis=-1), 1.0))
        True

    References:
        Gal and Ghahramani (2016), Dropout as a Bayesian approximation, ICML, equation 6. https://arxiv.org/abs/1506.02142
    """
    require_sizes(n_draws=n_draws)

    of_draws = key

    def apply(params, model_state, inputs, key=None):
        if key is not None:
            return model.apply(params, model_state, inputs, key)

        if jax.tree.leaves(model_state):
            raise ValueError(
                "model must have no state to be averaged over draws; it has batch statistics. Leave them out."
            )

        def add(i, total):
            draw = jax.random.fold_in(of_draws, i)

            def of_example(example):
                alone = jax.tree.map(lambda leaf: leaf[None], example)
                return model.apply(params, model_state, alone, draw)[0][0]

            return jnp.logaddexp(total, jax.nn.log_softmax(jax.vmap(of_example)(inputs)))

        shape = jax.eval_shape(lambda: model.apply(params, model_state, inputs)[0])
        total = jax.lax.fori_loop(0, n_draws, add, jnp.full(shape.shape, -jnp.inf, shape.dtype))
        return total - jnp.log(n_draws).astype(total.dtype), model_state

    return Model(model.init, apply)

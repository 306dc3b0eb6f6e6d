"""Self-influence: how much each training example had to pull for its own label, summed while a run trains."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxresearch.algorithms import wrapped
from jaxresearch.gradients import LossFn
from jaxresearch.training import Algorithm, State


class SelfInfluenced(NamedTuple):
    """The state of `self_influenced`: the trained state, and the self-influence of each training example so far."""

    inner: State
    self_influence: Float[Array, " train"]


def self_influenced(algorithm: Algorithm, loss_fn: LossFn, *, n_examples: int) -> Algorithm:
    r"""Returns the algorithm that also sums the influence of each training example on its own loss.

    .. math:: s_j = \sum_{t \,:\, j \in B_t} \lVert \nabla_\theta \ell_j(\theta_t) \rVert^2

    An example whose label contradicts the others keeps a large gradient: ranking by self-influence finds wrong labels. A step
    costs about twice as much. Multiplied by the learning rate and divided by the batch size, it is the reduction of the own
    loss, to first order.

    With dropout, all examples of a step share one mask, drawn from the key of the step with one example; it is not the mask that
    they are trained with. The sum over the steps averages over masks; the sum over a single pass rests on one for each example.

    Args:
        algorithm: Has a state with ``params`` and ``model_state``, such as `jaxresearch.training.TrainState`.
        loss_fn: ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``, called with single examples.
        n_examples: Number of training examples; each batch names those that it holds in ``index``.

    Returns:
        The algorithm; its state is `SelfInfluenced`.

    Raises:
        ValueError: If ``n_examples`` is not positive; in a step, if the batch has no ``index``.

    Example:
        >>> from jaxresearch import losses, models, training
        >>> model = models.function(lambda key: jnp.zeros(()), lambda params, inputs: params + inputs)
        >>> loss_fn = training.mean_loss(model, losses.half_squared_error)
        >>> sgd = training.gradient_based(model, loss_fn, optimizer=training.gradient_descent(0.1), metrics={})
        >>> summed = self_influenced(sgd, loss_fn, n_examples=3)
        >>> batch = {"inputs": jnp.zeros(2), "targets": jnp.array([1.0, 2.0]), "index": jnp.array([2, 0])}
        >>> state, _ = summed.step(summed.init(jax.random.key(0)), batch, jax.random.key(1))
        >>> state.self_influence.tolist()
        [4.0, 0.0, 1.0]

    References:
        Pruthi, Liu, Kale and Sundararajan (2020), Estimating training data influence by tracing gradient descent, NeurIPS,
        section 3.3. https://arxiv.org/abs/2002.08484
    """
    if n_examples < 1:
        raise ValueError(f"n_examples must be 1 or more, got {n_examples}. Pass the length of the training data.")

    def step(state, batch, key):
        if "index" not in batch:
            raise ValueError(
                "batch must name its examples in 'index', got none. Add np.arange(n) to the training data."
            )
        params, model_state = state.inner.params, state.inner.model_state

        def square(example):
            gradient = jax.grad(loss_fn, has_aux=True)(params, model_state, jax.tree.map(_alone, example), key)[0]
            return optax.tree.norm(gradient, squared=True)

        squares = jax.vmap(square)({name: entry for name, entry in batch.items() if name != "weights"})
        counted = squares if "weights" not in batch else jnp.where(batch["weights"] > 0, squares, 0)
        inner, values = algorithm.step(state.inner, batch, key)
        return SelfInfluenced(inner, state.self_influence.at[batch["index"]].add(counted)), values

    return wrapped(algorithm, lambda inner: SelfInfluenced(inner, jnp.zeros(n_examples)), step)


def _alone(leaf: Array) -> Array:
    """Returns an example as a batch of one."""
    return leaf[None]

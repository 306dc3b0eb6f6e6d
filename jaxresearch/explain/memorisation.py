"""Memorisation: how long a classifier takes to fit labels of which a fraction is random."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from jaxresearch.training import Algorithm, State


class Memorised(NamedTuple):
    """The state of `memorised`: the trained state, the draws behind the labels, and which labels are fitted.

    ``is_fitted`` marks the training examples that were classified as labelled when they were last seen, just before the step
    that used them; ``fitted_at`` is the first step after which all were marked, 0 until then.
    """

    inner: State
    random_labels: Int[Array, " train"]
    draws: Float[Array, " train"]
    is_fitted: Bool[Array, " train"]
    n_steps: Int[Array, ""]
    fitted_at: Int[Array, ""]


def memorised(algorithm: Algorithm, *, corruption: ArrayLike, n_examples: int, n_classes: int) -> Algorithm:
    r"""Returns the algorithm that trains on labels of which a fraction is random, and notes when it has fitted all of them.

    Each label is replaced with probability ``corruption`` by a class drawn uniformly, which may be the true one. The draws come
    from the key of the run: the same key gives the same random labels at any corruption, and those replaced at a smaller one
    are among those replaced at a larger one.

    Args:
        algorithm: A classifier with ``predict``; batches have ``inputs``, integer ``targets`` and ``index``.
        corruption: Expected fraction of the labels that are replaced, 0 to 1; may be traced.
        n_examples: Number of training examples; each batch names those that it holds in ``index``.
        n_classes: Number of classes.

    Returns:
        The algorithm; its state is `Memorised`. Steps also report ``fitted``, the fraction of the training examples that are
        fitted, and evaluations ``fitted`` and ``steps_to_fit``: nan if some labels are not fitted by the end.

    Raises:
        ValueError: If the corruption is not from 0 to 1, a number is not positive or the algorithm does not predict; in a
            step, if the batch has no ``index``.

    Example:
        >>> from jaxresearch import losses, models, training
        >>> sgd = training.supervised(models.linear(1, 2), losses.softmax_cross_entropy_with_integer_labels,
        ...                           optimizer=training.gradient_descent(1.0), metrics={})
        >>> labelled = memorised(sgd, corruption=0.0, n_examples=2, n_classes=2)
        >>> data = {"inputs": jnp.array([[-1.0], [1.0]]), "targets": jnp.array([0, 1]), "index": jnp.arange(2)}
        >>> plan = training.plan_of(2, batch_size=2, epochs=20)
        >>> state, _ = training.run(jax.random.key(0), data, algorithm=labelled, plan=plan)
        >>> float(labelled.evaluate(state, data, jax.random.key(0))["fitted"])
        1.0

    References:
        Zhang, Bengio, Hardt, Recht and Vinyals (2017), Understanding deep learning requires rethinking generalization, ICLR,
        section 2.1 (partially corrupted labels). https://arxiv.org/abs/1611.03530
    """
    if isinstance(corruption, int | float) and not 0 <= corruption <= 1:
        raise ValueError(f"corruption must be from 0 to 1, got {corruption}. Pass 0.5 to replace half of the labels.")
    for name, number in {"n_examples": n_examples, "n_classes": n_classes}.items():
        if number < 1:
            raise ValueError(f"{name} must be 1 or more, got {number}. Pass that of the training data.")
    if (predict := algorithm.predict) is None:
        raise ValueError("algorithm must predict classes, got one without predict. Pass training.supervised(...).")

    def init(key):
        of_inner, of_labels, of_draws = jax.random.split(key, 3)
        labels = jax.random.randint(of_labels, (n_examples,), 0, n_classes)
        draws = jax.random.uniform(of_draws, (n_examples,))
        unfitted, zero = jnp.zeros(n_examples, bool), jnp.zeros((), jnp.int32)
        return Memorised(algorithm.init(of_inner), labels, draws, unfitted, zero, jnp.copy(zero))

    def step(state, batch, key):
        if "index" not in batch:
            raise ValueError(
                "batch must name its examples in 'index', got none. Add np.arange(n) to the training data."
            )
        index, targets = batch["index"], batch["targets"]
        is_random = state.draws[index] < corruption
        targets = jnp.where(is_random, state.random_labels[index].astype(targets.dtype), targets)
        is_right = jnp.argmax(predict(state.inner, batch["inputs"]), axis=-1) == targets
        inner, values = algorithm.step(state.inner, {**batch, "targets": targets}, key)
        is_fitted, n_steps = state.is_fitted.at[index].set(is_right), state.n_steps + 1
        fitted_at = jnp.where(is_fitted.all() & (state.fitted_at == 0), n_steps, state.fitted_at)
        new = state._replace(inner=inner, is_fitted=is_fitted, n_steps=n_steps, fitted_at=fitted_at)
        return new, {**values, "fitted": is_fitted.mean()}

    def evaluate(state, data, key):
        steps = jnp.where(state.fitted_at > 0, state.fitted_at, jnp.nan)
        found = {"fitted": state.is_fitted.mean(), "steps_to_fit": steps}
        return {**algorithm.evaluate(state.inner, data, key), **found}

    return Algorithm(init, step, evaluate, lambda state, inputs: predict(state.inner, inputs))

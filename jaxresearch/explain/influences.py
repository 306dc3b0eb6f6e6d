"""Influence: how much the loss on each test example would change with the weight of each training example."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Key

from jaxresearch.data.parts import n_examples
from jaxresearch.gradients import Batch
from jaxresearch.hypergradients import Hypergradient, Unroll

Method = Callable[[Unroll], Hypergradient]
Influence = Callable[[Key[Array, ""], Any, Batch, Batch], Float[Array, "test train"]]


def influence(unroll: Unroll, method: Method, *, n_at_once: int = 32) -> Influence:
    r"""Returns the derivative of the loss on each test example in the weight of each training example.

    .. math:: I_{ij} = \frac{d L_i(\theta_T(w))}{d w_j} \bigg|_{w = 1}

    A training example with weight 0 is left out, so leaving out j changes the loss on test example i by about
    :math:`-I_{ij}`. Any hypergradient computes it, with the weights as hyperparameters:

    ===================================  ==================================================================
    ``hypergradients.reverse``           exact, through every step of the run
    ``hypergradients.truncated``         exact through the last steps
    ``hypergradients.implicit``          at an optimum; classical influence functions
    ``hypergradients.tracin``            of each step, apart from its effect on later ones
    ===================================  ==================================================================

    An exact derivative describes the run only where the run is smooth: see `linearity`.

    Args:
        unroll: The run, with a loss that is a mean over examples, such as `jaxresearch.hypergradients.unroll_of`. It must not
            look at validation data, since its test examples would take their place.
        method: ``unroll -> hypergradient``; bind its numbers with `functools.partial`.
        n_at_once: Test examples whose derivatives are carried backward together. Memory grows with it; the run itself is
            repeated once for each such group.

    Returns:
        ``(key, hyperparameters, train, test) -> influence``, of shape ``(test, train)``, in units of the loss.

    Raises:
        ValueError: If ``n_at_once`` is not positive or the run looks at validation data; when called, if the training data has
            weights of its own.

    Example:
        >>> import functools, jax, jax.numpy as jnp
        >>> from jaxresearch import hypergradients, training
        >>> def advance(key, h, state, train, step, n):  # one step to the weighted mean of the data
        ...     return jnp.average(train["inputs"], weights=train["weights"])
        >>> unrolled = hypergradients.Unroll(lambda key, h, train: 0.0, advance,
        ...                                  lambda key, h, state, test: (state - test["inputs"]).mean() ** 2 / 2)
        >>> exact = influence(unrolled, functools.partial(hypergradients.reverse, n_steps=1))
        >>> train, test = {"inputs": jnp.array([0.0, 2.0])}, {"inputs": jnp.array([0.0])}
        >>> exact(jax.random.key(0), {}, train, test).tolist()
        [[-0.5, 0.5]]

    References:
        Koh and Liang (2017), Understanding black-box predictions via influence functions, ICML (at an optimum).
        https://arxiv.org/abs/1703.04730

        Ilyas and Engstrom (2025), MAGIC: Near-optimal data attribution for deep learning (through the run).
        https://arxiv.org/abs/2504.16430
    """
    if n_at_once < 1:
        raise ValueError(
            f"n_at_once must be 1 or more, got {n_at_once}. Pass the number of test examples that fit in memory."
        )

    _without_looks(unroll)

    def influences(key, hyperparameters, train, test):
        hypergradient = method(_in_weights(unroll, hyperparameters))
        weights = jnp.ones(n_examples(_unweighted(train)))

        def of_example(example):
            return hypergradient(key, weights, train, example)[1]

        return jax.lax.map(of_example, _alone(test), batch_size=min(n_at_once, n_examples(test)))

    return influences


def retrained(unroll: Unroll, *, n_steps: int) -> Callable[[Key[Array, ""], Any, Batch, Batch, Array], Array]:
    """Returns the losses on test examples of a run with other weights of its training examples: the truth for influence.

    Args:
        unroll: As in `influence`.
        n_steps: Steps of the run.

    Returns:
        ``(key, hyperparameters, train, test, weights) -> losses`` of the shape ``(test,)``; vmap it over weights or keys.

    Raises:
        ValueError: If the run looks at validation data; when called, if the training data has weights of its own.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import hypergradients
        >>> def advance(key, h, state, train, step, n):
        ...     return jnp.average(train["inputs"], weights=train["weights"])
        >>> unrolled = hypergradients.Unroll(lambda key, h, train: 0.0, advance,
        ...                                  lambda key, h, state, test: (state - test["inputs"]).mean() ** 2 / 2)
        >>> train, test = {"inputs": jnp.array([0.0, 2.0])}, {"inputs": jnp.array([0.0])}
        >>> retrained(unrolled, n_steps=1)(jax.random.key(0), {}, train, test, jnp.array([0.0, 1.0])).tolist()
        [2.0]
    """
    _without_looks(unroll)

    def losses(key, hyperparameters, train, test, weights):
        _unweighted(train)
        run = _in_weights(unroll, hyperparameters)
        state = run.advance(key, weights, run.init(key, weights, train), train, 0, n_steps)
        return jax.vmap(functools.partial(run.loss, key, weights, state))(_alone(test))

    return losses


def datamodelling_score(
    influence: Float[Array, "test train"], weights: Float[Array, "subsets train"], losses: Float[Array, "subsets test"]
) -> Float[np.ndarray, " test"]:
    r"""Returns the linear datamodelling score: how well influence orders the losses of retrained runs.

    The rank correlation, over subsets of the training data, between :math:`\sum_j I_{ij} w_{sj}` and the loss on test example
    i after training with weights :math:`w_s`.

    Args:
        influence: From `influence`.
        weights: Of each retraining, 0 for examples left out.
        losses: From `retrained`.

    Returns:
        A Spearman correlation for each test example, -1 to 1.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> weights = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> datamodelling_score(jnp.array([[1.0, 2.0]]), weights, jnp.array([[0.1], [0.2], [0.9]])).tolist()
        [1.0]

    References:
        Park, Georgiev, Ilyas, Leclerc and Madry (2023), TRAK: Attributing model behavior at scale, ICML, definition 2.3.
        https://arxiv.org/abs/2303.14186
    """
    n_test, n_train = jnp.shape(influence)
    if jnp.shape(weights)[1:] != (n_train,) or jnp.shape(losses) != (len(weights), n_test):
        raise ValueError(
            f"weights and losses must have shapes (subsets, {n_train}) and (subsets, {n_test}) for influence of shape "
            f"{(n_test, n_train)}, got {jnp.shape(weights)} and {jnp.shape(losses)}. Pass those of the same data."
        )
    predicted = np.asarray(weights) @ np.asarray(influence).T
    pairs = zip(predicted.T, np.asarray(losses).T, strict=True)
    return np.array([scipy.stats.spearmanr(one, other)[0] for one, other in pairs])


def linearity(
    key: Key[Array, ""], influence: Float[Array, "test train"], losses_of: Callable[[Array], Array], *, n_runs: int = 16
) -> float:
    """Returns how nearly linear a run is in the weights of its training examples: whether its derivative means anything.

    Runs are retrained without a random 2 % of their examples, and the changes that influence predicts are compared with
    those that occur. A run with large steps or kinks (ReLU) may be so rough that its derivative, although exact, predicts
    nothing; below about 0.9, reduce the learning rate, average the parameters, or use smooth activations.

    Args:
        key: Draws the examples left out.
        influence: From `influence`.
        losses_of: ``weights -> losses`` of the shape ``(test,)``: `retrained` with all else bound.
        n_runs: Number of retrainings, 3 or more.

    Returns:
        The mean `datamodelling_score` over test examples, at most 1.

    Raises:
        ValueError: If ``n_runs`` is below 3.

    Example:
        >>> run = lambda weights: jnp.array([[1.0, 2.0, -1.0]]) @ weights
        >>> linearity(jax.random.key(0), jnp.array([[1.0, 2.0, -1.0]]), run)
        1.0
    """
    if n_runs < 3:
        raise ValueError(f"n_runs must be 3 or more, got {n_runs}. Pass 16.")
    weights = subsets(key, n_examples=influence.shape[1], n_subsets=n_runs, share=0.98)
    losses = jax.lax.map(losses_of, weights, batch_size=min(n_runs, 8))
    return float(datamodelling_score(influence, weights, losses).mean())


def subsets(
    key: Key[Array, ""], *, n_examples: int, n_subsets: int, share: int | float
) -> Float[Array, "subsets train"]:
    """Returns weights of 1 for random subsets of the training data, and 0 for the rest.

    Args:
        key: Draws the subsets.
        n_examples: Number of training examples.
        n_subsets: Number of subsets.
        share: Size of each, as a fraction above 0 and below 1; at least one example is left out.

    Returns:
        Weights, one row for each subset, all with the same sum.

    Raises:
        ValueError: If ``share`` is out of range.

    Example:
        >>> subsets(jax.random.key(0), n_examples=10, n_subsets=2, share=0.5).sum(axis=1).tolist()
        [5.0, 5.0]
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be above 0 and below 1, got {share}. Pass 0.5 for halves.")
    n_kept = min(max(round(share * n_examples), 1), n_examples - 1)
    first = jnp.arange(n_examples) < n_kept
    return jax.vmap(lambda one: jax.random.permutation(one, first))(jax.random.split(key, n_subsets)).astype(
        jnp.float32
    )


def _in_weights(unroll: Unroll, hyperparameters: Any) -> Unroll:
    """Returns the run whose hyperparameters are the weights of its training examples."""

    def advance(key, weights, state, train, step, n_steps):
        return unroll.advance(key, hyperparameters, state, {**train, "weights": weights}, step, n_steps)

    return Unroll(
        lambda key, weights, train: unroll.init(key, hyperparameters, train),
        advance,
        lambda key, weights, state, validation: unroll.loss(key, hyperparameters, state, validation),
    )


def _without_looks(unroll: Unroll) -> None:
    """Raises if the run looks at validation data."""
    if unroll.look is not None:
        raise ValueError(
            f"unroll must not look at validation data for influence, got look_every={unroll.look_every}. Train a fixed number "
            "of steps."
        )


def _alone(test: Batch) -> Batch:
    """Returns each example as a batch of one."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], test)


def _unweighted(train: Batch) -> Batch:
    """Returns the training data; raises if it has weights."""
    if "weights" in train:
        raise ValueError(
            "train must have no weights of its own, got an entry 'weights'. Leave it out; influence is per example."
        )
    return train

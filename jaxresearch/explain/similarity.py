"""Influence from gradients at single states: TracIn over checkpoints, or the similarity of gradients at one."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxresearch.data.parts import n_examples
from jaxresearch.explain.streaming import in_batches
from jaxresearch.gradients import Batch
from jaxresearch.hypergradients import Unroll


def gradient_similarity(
    losses: Callable[[Any, Batch], Float[Array, "examples"]],
    params: PyTree[Array],
    train: Batch,
    test: Batch,
    *,
    batch_size: int | None = None,
) -> Float[Array, "test train"]:
    r"""Returns how one step on each training example would change the loss on each test example.

    .. math:: S_{ij} = -\frac{w_j}{\sum_k w_k} \, \nabla L_i(\theta) \cdot \nabla \ell_j(\theta)

    The step is one on the weighted mean of the losses, as in training, so rows of weight 0, which pad a part, do not count. Times
    the step size, and added up over steps, it is TracIn: see `traced_influence`. Products with the gradients of training
    examples are derivatives along the gradient of the test example, so no gradient of a training example is stored.

    Args:
        losses: ``(params, batch) -> losses``, one for each example.
        params: Parameters of a trained model.
        train: Training examples. Their weights are those of an entry ``weights``, or 1.
        test: Test examples.
        batch_size: Training examples per call of ``losses``. None is all.

    Returns:
        In units of the loss, per unit of step size; a negative entry is a training example that lowers the loss on the test
        example, as in `jaxresearch.explain.influence`.

    Raises:
        ValueError: If ``batch_size`` is not positive.

    Example:
        >>> losses = lambda params, batch: (params - batch["inputs"]) ** 2 / 2
        >>> train, test = {"inputs": jnp.array([0.0, 2.0])}, {"inputs": jnp.array([1.5])}
        >>> gradient_similarity(losses, jnp.array(1.0), train, test).tolist()
        [[0.25, -0.25]]

    References:
        Pruthi, Liu, Kale and Sundararajan (2020), Estimating training data influence by tracing gradient descent, NeurIPS,
        section 3. https://arxiv.org/abs/2002.08484
    """

    def of_example(example: Batch) -> Array:
        alone = jax.tree.map(lambda leaf: leaf[None], example)
        direction = jax.grad(lambda params: losses(params, alone)[0])(params)

        def products(rows: Batch) -> Array:
            return jax.jvp(lambda params: losses(params, rows), (params,), (direction,))[1]

        weighted = weights * in_batches(products, train, batch_size=batch_size)
        return -jnp.where(weights > 0, weighted, 0) / weights.sum()  # a padded row may have no finite gradient

    train, test = jax.tree.map(jnp.asarray, (train, test))
    weights = train.get("weights", jnp.ones(n_examples(train)))
    return jax.lax.map(of_example, test)


def traced_influence(
    losses: Callable[[Any, Batch], Float[Array, "examples"]],
    checkpoints: Sequence[PyTree[Array]],
    train: Batch,
    test: Batch,
    *,
    batch_size: int | None = None,
) -> Float[Array, "test train"]:
    r"""Returns TracIn with the checkpoints of a run: the mean `gradient_similarity` over them.

    .. math:: T_{ij} = \frac{1}{K} \sum_{k=1}^K S_{ij}(\theta_k)

    It orders training examples as TracIn does if the step size was the same at all checkpoints.

    Args:
        losses: As in `gradient_similarity`.
        checkpoints: Parameters at several steps, at least one.
        train: Training examples, with or without ``weights``.
        test: Test examples.
        batch_size: Training examples per call of ``losses``.

    Returns:
        As `gradient_similarity`.

    Raises:
        ValueError: If there is no checkpoint.

    Example:
        >>> losses = lambda params, batch: (params - batch["inputs"]) ** 2 / 2
        >>> train, test = {"inputs": jnp.array([0.0, 2.0])}, {"inputs": jnp.array([1.5])}
        >>> traced_influence(losses, [jnp.array(1.0), jnp.array(1.5)], train, test).tolist()
        [[0.125, -0.125]]
    """
    if not checkpoints:
        raise ValueError(
            "checkpoints must hold the parameters of at least one step, got none. Keep a checkpoint of the run."
        )
    found = [gradient_similarity(losses, params, train, test, batch_size=batch_size) for params in checkpoints]
    return jnp.mean(jnp.stack(found), axis=0)


def parameters_of(state: Any) -> tuple[list[Array], Callable[[list[Array]], Any]]:
    """Returns the floating-point arrays of a state that training fits, and the function that puts others in their places.

    All but the state of the model (running statistics) and of the optimizer, so also averages of parameters.

    Args:
        state: Of one run.

    Returns:
        The arrays, and ``arrays -> state``.

    Example:
        >>> from jaxresearch.training import TrainState
        >>> arrays, put = parameters_of(TrainState({"w": jnp.ones(2)}, {"mean": jnp.zeros(2)}, {"trace": jnp.zeros(2)}))
        >>> len(arrays), put([jnp.zeros(2)]).params["w"].tolist()
        (1, [0.0, 0.0])
    """
    found, structure = jax.tree_util.tree_flatten_with_path(state)
    leaves = [leaf for _, leaf in found]
    places = [place for place, (path, leaf) in enumerate(found) if _is_fitted(path, leaf)]

    def put(arrays: list[Array]) -> Any:
        others = dict(zip(places, arrays, strict=True))
        return jax.tree.unflatten(structure, [others.get(place, leaf) for place, leaf in enumerate(leaves)])

    return [leaves[place] for place in places], put


def _is_fitted(path: Any, leaf: Any) -> bool:
    """Returns whether an array of a state is one that training fits."""
    names = {getattr(entry, "name", None) for entry in path}
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and not names & {"model_state", "opt_state"}


def unroll_with(program: Any, losses: Callable[[Array, Any], Float[Array, "examples"]]) -> Unroll:
    """Returns the run of an experiment with the mean loss of its predictions, for `jaxresearch.explain.influence`.

    Unlike `jaxresearch.hypergradients.unroll_of`, it needs no metric of the experiment.

    Args:
        program: From `jaxresearch.experiment.program`; its algorithm has ``predict`` and does not react to validation data.
        losses: ``(outputs, targets) -> losses``, one for each example.

    Returns:
        The pieces of the run.

    Example:
        >>> from jaxresearch import experiment, loading
        >>> from jaxresearch.losses import squared_error
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> unrolled = unroll_with(experiment.program(house, dataset), lambda y, t: squared_error(y, t)[:, 0])
        >>> unrolled.look is None
        True
    """

    def loss(key, hyperparameters, state, test):
        algorithm = program.algorithm(hyperparameters)
        return losses(algorithm.predict(algorithm.outcome(state), test["inputs"]), test["targets"]).mean()

    return Unroll(
        lambda key, hyperparameters, train: program.init(key, hyperparameters),
        lambda *args: program.advance(*args)[0],
        loss,
    )

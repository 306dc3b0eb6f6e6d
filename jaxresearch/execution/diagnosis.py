"""Where a run stopped being finite: the step, the first bad array, and all that the step was given."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch import devices, sweeps
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset
from jaxresearch.execution.compilation import CompiledFunction
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check
from jaxresearch.training import TrainState


class Diagnosis(NamedTuple):
    """A step of one run: how many were made before it, the name of its first array that is not finite, and its inputs.

    ``inputs`` has ``state``, ``batch`` and ``key`` (as its numbers); they give the step again.
    """

    step: int
    leaf: str
    inputs: dict[str, Any]


def first_nonfinite(losses: np.ndarray) -> tuple[int, int] | None:
    """Returns run and step of the earliest loss that is not finite, or None.

    Args:
        losses: ``(runs, steps)``.

    Returns:
        Indices into the losses.

    Example:
        >>> first_nonfinite(np.array([[1.0, 2.0, np.nan], [1.0, np.inf, 2.0]]))
        (1, 1)

    References:
        IEEE (2019), Standard for floating-point arithmetic, IEEE 754, section 6.
    """
    bad = ~np.isfinite(losses)
    if not bad.any():
        return None
    step = int(bad.any(axis=0).argmax())
    return int(bad[:, step].argmax()), step


def is_finite(state: TrainState) -> bool:
    """Returns whether every number of a state is finite.

    Args:
        state: Of one run or of several.

    Returns:
        False where one array holds a number that is not.

    Example:
        >>> is_finite(TrainState(jnp.int32(3), {"w": jnp.ones(2)}, {}, ())), is_finite(TrainState(jnp.int32(3), jnp.inf, {}, ()))
        (True, False)

    References:
        IEEE (2019), as in `first_nonfinite`.
    """
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact)]
    return all(bool(jnp.isfinite(leaf).all()) for leaf in floats)


def diagnose(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    run: int,
    step: int,
    start: tuple[int, TrainState] | None = None,
) -> Diagnosis:
    """Returns what was wrong in a step of one run, by making the steps before it again.

    Args:
        experiment: The stages.
        hyperparameters: The settings of the run.
        dataset: Preprocessed data.
        seeds: Those of the runs side by side.
        run: The place of the seed whose run it is.
        step: Steps made before the one whose loss was not finite.
        start: Steps made and a state to begin with, as of a checkpoint; the beginning of the run unless given.

    Returns:
        The step and its first array that is not finite, in the order batch, state, gradient, loss. Where the state was
        bad already, it is the step before, whose update made it so.

    Raises:
        ValueError: If the step lies before the start, or a hyperparameter is out of its bounds.

    Example:
        >>> from jaxresearch.experiment import load
        >>> house = load("house_prices")
        >>> dataset = house.preprocess(house.collect(house.source))
        >>> dataset.train["inputs"][7, 0] = np.nan
        >>> diagnose(house, house.hyperparameters, dataset, seeds=[0], run=0, step=0).leaf
        "batch['inputs']"

    References:
        Micikevicius et al. (2018), Mixed precision training, ICLR, section 3.2 (what is looked at for overflow).
        https://arxiv.org/abs/1710.03740
    """
    check(hyperparameters)
    keys, train = sweeps.keys(seeds), devices.place(dataset.train, n_runs=len(seeds), axis=dataset.axis)
    program = experiments.program(experiment, dataset.card)
    n_before, state = start or (
        0,
        CompiledFunction(sweeps.sweep(program.init, (0, None, dataset.axis)))(keys, hyperparameters, train),
    )
    if step < n_before:
        raise ValueError(f"step must not lie before the start, {n_before}; got {step}. Begin with an earlier state.")

    def advanced(program: Any, state: TrainState, n_steps: int) -> Any:
        def steps(key, hyperparameters, state, data):
            return program.advance(key, hyperparameters, state, data, n_steps)

        return CompiledFunction(sweeps.sweep(steps, (0, None, 0, dataset.axis)))(keys, hyperparameters, state, train)

    probing = experiments.program(dataclasses.replace(experiment, step=_probe), dataset.card)
    last = state
    if step > n_before + 1:
        last, _ = advanced(program, state, step - 1 - n_before)
    found = None
    for made in range(max(step - 1, n_before), step + 1):
        if made > max(step - 1, n_before):
            last, _ = advanced(program, last, 1)
        _, seen = advanced(probing, last, 1)
        seen = {name: np.asarray(leaf[run][0]) for name, leaf in seen.items()}
        before = jax.tree.map(lambda leaf: np.asarray(leaf[run]), last)
        batch, gradient = _tree(seen, "batch", like=train), _tree(seen, "gradient", like=before.params)
        inputs = {"state": before, "batch": batch, "key": seen["key"]}
        looked = {"batch": batch, "state": before, "gradient": gradient, "loss": seen["loss"]}
        found = Diagnosis(made, _first_bad(looked), inputs)
        if found.leaf:
            return found
    assert found is not None
    return found


def _probe(estimator: Any, optimizer: Any) -> Any:
    """Returns the step that moves nothing, and tells its inputs and its gradient instead."""
    del optimizer

    def step_fn(state, batch, key):
        gradient, metrics, _ = estimator(state.params, state.model_state, batch, key)
        arrays = {"key": jax.random.key_data(key), "loss": metrics["loss"]}
        for name, tree in (("batch", batch), ("gradient", gradient)):
            arrays |= {f"{name} {i}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}
        return state, arrays

    return step_fn


def _tree(seen: dict[str, np.ndarray], name: str, *, like: Any) -> Any:
    """Returns the arrays that `_probe` gives of a tree, in its structure."""
    structure = jax.tree.structure(like)
    return jax.tree.unflatten(structure, [seen[f"{name} {i}"] for i in range(structure.num_leaves)])


def _first_bad(looked: dict[str, Any]) -> str:
    """Returns the name of the first array with an entry that is not finite, or nothing."""
    for name, tree in looked.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(leaf).all():
                return f"{name}{jax.tree_util.keystr(path)}"
    return ""

"""Units of privacy that own several examples, such as users or patients."""

import jax
import numpy as np

from jaxresearch.data import map_arrays
from jaxresearch.data.parts import Part
from jaxresearch.data.splits import groups_of
from jaxresearch.gradients import Batch, LossFn
from jaxresearch.privacy.mechanism import Unit

_WEIGHTS = "unit_weights"


def by_unit(part: Part, *, per_unit: int, seed: int = 0) -> Part:
    """Returns the examples of each unit side by side, in place of single examples.

    Which examples of a unit are kept depends on that unit alone. Otherwise one unit would change what others contribute, which
    no clipping norm bounds.

    Args:
        part: Arrays with ``groups``, the unit of each example, as from data split by group.
        per_unit: Largest number of examples of a unit that is kept, 1 or more; of larger units, random ones.
        seed: Of the choice. Units of equal size keep examples at the same positions, counted in the order of the data.

    Returns:
        Arrays ``(units, per_unit, ...)``, without ``groups``. A smaller unit repeats its examples; the ``unit_weights`` of
        repeated ones are 0.

    Raises:
        ValueError: If ``per_unit`` is not positive, or the part has no groups.

    Example:
        >>> part = {"inputs": np.array([10, 20, 11, 12]), "groups": np.array([1, 2, 1, 1])}
        >>> units = by_unit(part, per_unit=2)
        >>> units["inputs"].shape, units["inputs"][1].tolist(), units["unit_weights"].tolist()
        ((2, 2), [20, 20], [[1.0, 1.0], [1.0, 0.0]])
    """
    if per_unit < 1:
        raise ValueError(
            f"per_unit must be 1 or more, got {per_unit}. Pass the most examples of a unit to use, such as 8."
        )
    groups = groups_of(part)
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    position = np.arange(len(groups)) - np.repeat(starts, sizes)  # of an example in its unit
    draws = np.random.default_rng(seed).random(sizes.max(initial=0))[position]  # begin alike for all sizes
    order = order[np.lexsort((draws, np.repeat(starts, sizes)))]
    kept, place = np.minimum(sizes, per_unit)[:, None], np.arange(per_unit)
    index = order[starts[:, None] + place % kept]
    held = {name: entry for name, entry in part.items() if name != "groups"}
    return {**map_arrays(lambda entry: entry[index], held), _WEIGHTS: (place < kept).astype(np.float32)}


def of_unit(loss_fn: LossFn) -> LossFn:
    """Returns the loss of a batch of one unit: the mean over its examples.

    Args:
        loss_fn: The weighted mean over a batch of examples.

    Returns:
        A loss_fn of batches ``(1, per_unit, ...)``.

    Raises:
        ValueError: When called, with more than one unit.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.average(batch["inputs"], weights=batch["weights"]), ({}, model_state)
        >>> unit = {"inputs": jnp.array([[2.0, 4.0, 2.0]]), "unit_weights": jnp.array([[1.0, 1.0, 0.0]])}
        >>> float(of_unit(loss_fn)(None, {}, unit, None)[0])
        3.0
    """

    def of_one(params, model_state, batch, key):
        n = len(batch[_WEIGHTS])
        if n != 1:
            raise ValueError(f"batch must hold one unit, got {n}. Clip the gradient of each unit alone.")
        weights = batch[_WEIGHTS][0]
        examples = {
            name: jax.tree.map(lambda leaf: leaf[0], entry) for name, entry in batch.items() if name != _WEIGHTS
        }
        return loss_fn(params, model_state, {**examples, "weights": weights}, key)

    return of_one


def require_units(batch: Batch, unit: Unit | None) -> None:
    """Raises unless the entries of a batch are the units that a mechanism accounts for.

    Args:
        batch: With a leading axis of units, or of examples.
        unit: Of the mechanism; None for examples.

    Raises:
        ValueError: If they differ.

    Example:
        >>> require_units({"inputs": np.zeros((3, 2)), "unit_weights": np.ones((3, 2))}, Unit("user", 2))
    """
    places = None if _WEIGHTS not in batch else batch[_WEIGHTS].shape[-1]
    expected = None if unit is None else unit.per_unit
    if places != expected:
        wanted, got = ("single examples" if n is None else f"units of {n} examples" for n in (expected, places))
        raise ValueError(
            f"batch must hold {wanted}, which the mechanism accounts for, got {got}. Arrange the data with privacy.by_unit, "
            "and set Mechanism.unit."
        )

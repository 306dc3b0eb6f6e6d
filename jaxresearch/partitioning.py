"""How the arrays of a state are split over the devices of a mesh: a table of rules, and the algorithm that follows them.

A rule is a pattern of an array's path and the mesh axes of its last dimensions. The optimizer's arrays end in the paths of the
parameters, so one rule serves all of them.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import PartitionSpec, get_abstract_mesh
from jaxtyping import PyTree

from jaxresearch import devices
from jaxresearch.training import Algorithm

Rule = tuple[str, tuple[str | None, ...]]

# The two-layer network is split by hidden units, so that it needs one sum over devices: Shoeybi et al. (2019), Megatron-LM,
# section 3. https://arxiv.org/abs/1909.08053. Attention is split by heads, but queries, keys and values are one axis of heads: a
# device may have the query of a head without its key. So besides the sum, each block exchanges heads. In one step of a decoder
# with 4 heads, `jaxresearch.scale.collectives` counts 7 permutations and 4 all-to-alls per block over tensor=4, and 2 and 4 over
# tensor=2.
RULES: tuple[Rule, ...] = (
    ("embedding|head", ("tensor", "fsdp")),
    ("positions", (None, "fsdp")),
    ("queries_keys_values/kernel", ("fsdp", "tensor", None)),
    ("queries_keys_values/bias", ("tensor", None)),
    ("mix/kernel|network_out/kernel", ("tensor", "fsdp")),
    ("network_in/bias", ("tensor",)),
    ("kernel|w|weight", ("fsdp", "tensor")),
)


def spec(path: str, shape: tuple[int, ...], *, rules: Sequence[Rule] = ()) -> PartitionSpec:
    """Returns how the current mesh splits an array of a state.

    Args:
        path: Of the array, such as ``params/Dense_0/kernel``.
        shape: Of the array.
        rules: Pairs of a pattern and axes, tried before `RULES`. A pattern is a regular expression that must match the last
            parts of the path; the axes are those of the last dimensions, None for one that is not split.

    Returns:
        The axes of each dimension. An axis of `RULES` that does not divide its dimension is left out; an array without a rule is
        on every device as a whole.

    Raises:
        ValueError: If a rule in ``rules`` names an axis that does not exist, more dimensions than the array has, or an axis that
            does not divide its dimension.

    Example:
        >>> with jax.set_mesh(devices.mesh(fsdp=-1)):
        ...     spec("opt_state/0/mu/Dense_0/kernel", (784, 128)), spec("params/Dense_0/bias", (128,))
        (P('fsdp', None), P())
    """
    own = next((rule for rule in rules if _matches(rule, path)), None)
    rule = own or next((rule for rule in RULES if _matches(rule, path)), None)
    if rule is None or (own is None and len(shape) < len(rule[1])):
        return PartitionSpec()
    if own is not None:
        _require_fits(own, path, shape)
    sizes, free = get_abstract_mesh().shape, devices.free_axes()
    entries = [None] * (len(shape) - len(rule[1])) + [*rule[1]]
    divides = [name in free and not size % sizes[name] for name, size in zip(entries, shape, strict=True)]
    return PartitionSpec(*(name if is_split else None for name, is_split in zip(entries, divides, strict=True)))


def specs(state: PyTree, *, rules: Sequence[Rule] = ()) -> PyTree[PartitionSpec]:
    """Returns how the current mesh splits each array of a state.

    Args:
        state: Arrays, or their shapes.
        rules: As in `spec`.

    Returns:
        The same tree, with the `spec` of each array.

    Raises:
        ValueError: As `spec`.

    Example:
        >>> with jax.set_mesh(devices.mesh(fsdp=-1)):
        ...     specs({"kernel": jax.ShapeDtypeStruct((784, 128), "float32")})
        {'kernel': P('fsdp', None)}
    """

    def of_leaf(path: Any, leaf: Any) -> PartitionSpec:
        return spec(jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape, rules=rules)

    return jax.tree_util.tree_map_with_path(of_leaf, state)


def partitioned(algorithm: Algorithm, *, rules: Sequence[Rule] = ()) -> Algorithm:
    """Returns the algorithm with its state and its batches split over the current mesh.

    Without a current mesh (``jax.set_mesh``), it is the same algorithm. With one, the results are those of one device up to the
    order of sums.

    Args:
        algorithm: The algorithm.
        rules: As in `spec`.

    Returns:
        The algorithm.

    Raises:
        ValueError: When called, if the mesh does not divide a batch, or as `spec`.

    Example:
        >>> from jaxresearch import losses, models, training
        >>> descent = training.supervised(models.linear(8, 2), losses.half_squared_error,
        ...                               optimizer=training.gradient_descent(0.1), metrics={})
        >>> with jax.set_mesh(devices.mesh(fsdp=-1)):
        ...     state = jax.jit(partitioned(descent).init)(jax.random.key(0))
        >>> state.params["Dense_0"]["kernel"].sharding.spec
        P('fsdp',)
    """

    def init(key):
        return constrained(algorithm.init(key), rules=rules)

    def start(params, model_state):
        assert algorithm.start is not None
        return constrained(algorithm.start(params, model_state), rules=rules)

    def step(state, batch, key):
        state, metrics = algorithm.step(constrained(state, rules=rules), devices.spread(batch), key)
        return constrained(state, rules=rules), metrics

    return algorithm._replace(init=init, step=step, start=algorithm.start and start)


def constrained(state: PyTree, *, rules: Sequence[Rule] = ()) -> PyTree:
    """Returns a state split over the current mesh, inside a jitted function.

    Args:
        state: Arrays.
        rules: As in `spec`.

    Returns:
        The same values; without a current mesh, the same arrays.

    Raises:
        ValueError: As `spec`.

    Example:
        >>> constrained({"kernel": 1.0})
        {'kernel': 1.0}
    """
    if not devices.free_axes():
        return state
    return jax.tree.map(jax.lax.with_sharding_constraint, state, specs(state, rules=rules))


def _matches(rule: Rule, path: str) -> bool:
    """Returns whether a rule is about an array."""
    return re.fullmatch(rf"(?:.*/)?(?:{rule[0]})", path) is not None


def _require_fits(rule: Rule, path: str, shape: tuple[int, ...]) -> None:
    """Raises unless a rule can be applied to an array."""
    sizes, (pattern, axes) = get_abstract_mesh().shape, rule
    if len(axes) > len(shape):
        raise ValueError(
            f"rule {pattern!r} must have at most {len(shape)} axes for {path}, got {len(axes)}. Shorten it."
        )
    for name, size in zip(axes, shape[len(shape) - len(axes) :], strict=True):
        if name is not None and name not in sizes:
            raise ValueError(
                f"rule {pattern!r} must have axes among {', '.join(sizes)}, got {name!r}. Write None for whole."
            )
        if name is not None and size % sizes[name]:
            raise ValueError(
                f"mesh must divide the dimension {size} of {path}, whose shape is {shape}, got {name}={sizes[name]}. Change the "
                f"size, the mesh or the rule {pattern!r}."
            )

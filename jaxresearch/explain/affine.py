"""The affine part at the start of a model, through which a straight line stays straight and gradients go back once."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.extend.core import JaxprEqn, Literal
from jaxtyping import Array, Float, PyTree

from jaxresearch.explain.scores import Rows, Score

# With one operand that depends on the inputs, these are affine in it; those of the second line in any number of operands.
_ANY_ONE = {"dot_general", "conv_general_dilated", "mul"}
_ALL = {
    "add",
    "add_any",
    "sub",
    "neg",
    "reshape",
    "transpose",
    "broadcast_in_dim",
    "squeeze",
    "reduce_sum",
    "slice",
    "pad",
    "concatenate",
    "copy",
}
_COSTLY = {"dot_general", "conv_general_dilated"}
_MOST_SLOPES = 2**22  # 16 MB


def affine_prefix(
    fun: Callable[[Any], Array], inputs: PyTree[Array | jax.ShapeDtypeStruct]
) -> tuple[Callable[[Any], list[Array]], Callable[[list[Array]], Array]]:
    r"""Returns the affine first part of a function, and the rest.

    .. math:: f(x) = \text{rest}(\text{first}(x)), \quad
        \text{first}(b + t (x - b)) = \text{first}(b) + t (\text{first}(x) - \text{first}(b))

    So the first layer of a network is evaluated once, not at each point of a line, and its transpose once, not for each
    gradient. The first part is found in the jaxpr; it is the identity if it has no product of matrices and no convolution.

    Args:
        fun: A function of the inputs; both parts are for inputs of these shapes.
        inputs: Arrays, or their shapes and types.

    Returns:
        ``inputs -> intermediates``, and ``intermediates -> outputs``.

    Example:
        >>> weights = jnp.array([[1.0, 2.0], [3.0, 4.0]])
        >>> first, rest = affine_prefix(lambda x: jnp.tanh(x @ weights + 1.0), jnp.ones((1, 2)))
        >>> first(jnp.ones((1, 2)))[0].tolist()
        [[5.0, 7.0]]
    """
    closed, shape = jax.make_jaxpr(fun, return_shape=True)(inputs)
    jaxpr = closed.jaxpr
    depends, early, late = set(jaxpr.invars), [], []
    affine = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        given = [var for var in equation.invars if not isinstance(var, Literal)]
        if not depends.intersection(given):
            early.append(equation)  # a constant: both parts compute it, and XLA removes what is not used
            continue
        depends.update(equation.outvars)
        if affine.issuperset(depends.intersection(given)) and _is_affine(equation, depends):
            affine.update(equation.outvars)
            early.append(equation)
        else:
            late.append(equation)
    if not any(equation.primitive.name in _COSTLY and affine.issuperset(equation.outvars) for equation in early):
        return jax.tree.leaves, lambda leaves: fun(jax.tree.unflatten(jax.tree.structure(inputs), leaves))
    used = [var for equation in late for var in equation.invars] + list(jaxpr.outvars)
    boundary = list(dict.fromkeys(var for var in used if not isinstance(var, Literal) and var in affine))
    constants = [equation for equation in early if not depends.intersection(equation.outvars)]

    before = jaxpr.replace(eqns=early, outvars=boundary)
    after = jaxpr.replace(eqns=constants + late, invars=boundary)

    def first(inputs: Any) -> list[Array]:
        return eval_jaxpr(before, closed.consts, *jax.tree.leaves(inputs))

    def rest(intermediates: list[Array]) -> Array:
        return jax.tree.unflatten(jax.tree.structure(shape), eval_jaxpr(after, closed.consts, *intermediates))

    return first, rest


def affine_prefix_of(score: Score, rows: Rows) -> tuple[Callable[[Any], list[Array]], Callable[[list[Array]], Array]]:
    """Returns the affine first part of a score as a function of the inputs alone, and the rest: see `affine_prefix`.

    Args:
        score: Of rows, row by row.
        rows: Examples, whose classes and fixed entries both parts take as they are.

    Returns:
        ``inputs -> intermediates``, and ``intermediates -> scores``.

    Example:
        >>> weights = jnp.array([[1.0, 2.0], [3.0, 4.0]])
        >>> first, rest = affine_prefix_of(lambda rows: jnp.tanh(rows.inputs @ weights).sum(axis=1), Rows(jnp.ones((1, 2))))
        >>> first(jnp.ones((1, 2)))[0].tolist()
        [[4.0, 6.0]]
    """
    return affine_prefix(lambda inputs: score(rows._replace(inputs=inputs)), rows.inputs)


def affine_slopes(score: Score, rows: Rows) -> list[Float[Array, "entries ..."]] | None:
    r"""Returns the derivatives of the affine first part of a score, which are the same for all examples.

    .. math:: \text{first}(x + \delta) = \text{first}(x) + \sum_i \delta_i s_i

    So where few entries change, so does the first layer: it takes the products of these entries alone.

    Args:
        score: Of rows, row by row.
        rows: Examples with one array of inputs.

    Returns:
        For each intermediate (`affine_prefix`), the derivative :math:`s_i` by each entry of an example. None if there is no such
        part, if it may differ between examples (``fixed``), if the inputs are integers or several arrays, or if it has more than
        four million numbers.

    Example:
        >>> weights = jnp.array([[1.0, 2.0], [3.0, 4.0]])
        >>> affine_slopes(lambda rows: jnp.tanh(rows.inputs @ weights + 1.0).sum(axis=1), Rows(jnp.ones((5, 2))))[0].tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    inputs = rows.inputs
    if rows.fixed is not None or not isinstance(inputs, jax.Array) or not jnp.issubdtype(inputs.dtype, jnp.floating):
        return None
    shape = inputs.shape[1:]
    n = math.prod(shape)

    def part(n_rows: int) -> tuple[Callable[[Any], list[Array]], list[tuple[int, ...]]]:
        classes = None if rows.classes is None else jnp.zeros(n_rows, rows.classes.dtype)
        some = jax.ShapeDtypeStruct((n_rows, *shape), inputs.dtype)
        first, _ = affine_prefix_of(score, Rows(some, classes))
        return first, [leaf.shape for leaf in jax.eval_shape(first, some)]

    (first, shapes), (_, others) = part(n), part(n + 1)
    is_by_row = all(one[:1] == (n,) and other[:1] == (n + 1,) for one, other in zip(shapes, others, strict=True))
    if first is jax.tree.leaves or not is_by_row or sum(map(math.prod, [(n, n), *shapes])) > _MOST_SLOPES:
        return None
    units = jnp.eye(n, dtype=inputs.dtype).reshape(n, *shape)
    return [there - here for there, here in zip(first(units), first(jnp.zeros_like(units)), strict=True)]


def _is_affine(equation: JaxprEqn, depends: set[Any]) -> bool:
    """Returns whether an operation is affine in those of its operands that depend on the inputs."""
    name = equation.primitive.name
    n_dependent = sum(not isinstance(var, Literal) and var in depends for var in equation.invars)
    types = [getattr(var.aval, "dtype", bool) for var in equation.outvars]
    is_float = all(jnp.issubdtype(dtype, jnp.floating) for dtype in types)
    return is_float and (name in _ALL or name in _ANY_ONE and n_dependent == 1)

"""The score that is explained, one number per example, and the checks of the arguments that all methods share."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree, Shaped

Inputs = PyTree[Array | np.ndarray]
Target = int | np.integer | Array | np.ndarray | Callable[[Array], Array] | None


class Rows(NamedTuple):
    """Examples, or perturbed copies of them: pytrees of arrays with equal leading axes.

    Attributes:
        inputs: What is explained.
        classes: The class of each row whose output is explained; None if the target is not a class.
        fixed: What ``predict`` also takes, or None.
    """

    inputs: Any
    classes: Any = None
    fixed: Any = None


Score = Callable[[Rows], Float[Array, "rows"]]


def scored(
    predict: Callable[..., Array], inputs: Inputs, *, target: Target = None, fixed: Any = None
) -> tuple[Score, Rows]:
    """Returns the function that scores rows, and the examples as rows.

    ===========================  =======================================================================
    ``target``                   the score of an example
    ===========================  =======================================================================
    a class                      its output for this class
    one class for each example   its output for its own class
    ``outputs -> scores``        the function of its outputs: a difference of logits, a log probability
    None                         its output; the outputs have one entry per example
    ===========================  =======================================================================

    Args:
        predict: ``inputs -> outputs``, or ``(inputs, fixed) -> outputs``; arrays with the axis of examples first.
        inputs: An array, or a pytree of arrays, with the axis of examples first.
        target: What is explained; see the table. A class that does not exist scores nan if it is traced, and is otherwise
            refused.
        fixed: Arrays with the axis of examples first, which ``predict`` takes as its second argument and which are neither
            changed nor explained: the tokens below an embedding, a mask.

    Returns:
        The score of rows, and the examples.

    Raises:
        ValueError: If axes of examples differ, the target does not fit the outputs, or a class does not exist.

    Example:
        >>> score, rows = scored(lambda x: x @ jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.ones((3, 2)), target=1)
        >>> score(rows).tolist()
        [6.0, 6.0, 6.0]
    """
    inputs, fixed = jax.tree.map(jnp.asarray, (inputs, fixed))
    n = n_examples((inputs, fixed))

    def column(rows: Rows) -> Array:
        return outputs_of(predict, rows).reshape(-1)

    def output_of_class(rows: Rows) -> Array:
        outputs = outputs_of(predict, rows)
        exists = (rows.classes >= 0) & (rows.classes < outputs.shape[1])
        chosen = jnp.take_along_axis(outputs, rows.classes[:, None], axis=1, mode="clip")[:, 0]
        return chosen * jnp.where(exists, 1.0, jnp.nan).astype(chosen.dtype)  # a factor, so that gradients are nan too

    outputs = jax.eval_shape(functools.partial(outputs_of, predict), Rows(inputs, fixed=fixed))
    if callable(target):
        score, classes = (lambda rows: target(outputs_of(predict, rows))), None
        _require_one_per_example("target must return one score per example", jax.eval_shape(target, outputs), (n,))
    elif target is None:
        score, classes = column, None
        _require_one_per_example("without a target, outputs must be one number per example", outputs, (n,), (n, 1))
    else:
        score, classes = output_of_class, _classes(target, outputs.shape, n)
    return score, Rows(inputs, classes, fixed)


def outputs_of(predict: Callable[..., Array], rows: Rows) -> Array:
    """Returns the outputs of rows.

    Args:
        predict: As in `scored`.
        rows: With what it takes.

    Returns:
        Outputs with the axis of rows first.

    Example:
        >>> outputs_of(lambda x, mask: x * mask, Rows(jnp.ones(2), fixed=jnp.array([1.0, 0.0]))).tolist()
        [1.0, 0.0]
    """
    return predict(rows.inputs) if rows.fixed is None else predict(rows.inputs, rows.fixed)


def n_examples(examples: PyTree) -> int:
    """Returns the length of the leading axis that all arrays share.

    Args:
        examples: A pytree of arrays.

    Returns:
        The number of examples.

    Raises:
        ValueError: If there is no array, or the leading axes differ.

    Example:
        >>> n_examples({"age": jnp.ones(5), "image": jnp.ones((5, 8, 8))})
        5
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(examples)]
    lengths = {shape[0] for shape in shapes if shape}
    if len(lengths) != 1 or () in shapes:
        raise ValueError(
            f"inputs must be arrays with the same number of examples along their first axis, got shapes {shapes}. "
            "Add the axis: x[None] for one example."
        )
    return lengths.pop()


def baseline_of(inputs: Inputs, baseline: Any) -> Inputs:
    """Returns a baseline for every example, in the shapes and types of the inputs.

    Args:
        inputs: A pytree of arrays.
        baseline: A number; or a pytree as the inputs, whose arrays have the shape of one example or of all examples.

    Returns:
        A pytree as the inputs.

    Raises:
        ValueError: If the structure or a shape differs.

    Example:
        >>> baseline_of(jnp.ones((2, 3)), jnp.array([1.0, 2.0, 3.0])).tolist()
        [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """
    if [jnp.shape(leaf) for leaf in jax.tree.leaves(baseline)] == [()]:
        (number,) = jax.tree.leaves(baseline)
        return jax.tree.map(lambda x: jnp.full(x.shape, number, x.dtype), inputs)
    if jax.tree.structure(baseline) != jax.tree.structure(inputs):
        raise ValueError(
            f"baseline must be a number, or arrays with the structure of the inputs, {_structure(inputs)}, "
            f"got {_structure(baseline)}. Pass one array for each."
        )

    def fitted(x: Array, b: Any) -> Array:
        if jnp.shape(b) not in (x.shape, x.shape[1:]):
            raise ValueError(
                f"baseline must have the shape of one example, {x.shape[1:]}, or of all, {x.shape}, got {jnp.shape(b)}. "
                "Pass a number to repeat it."
            )
        return jnp.broadcast_to(
            jnp.asarray(b, x.dtype)[None] if jnp.ndim(b) < x.ndim else jnp.asarray(b, x.dtype), x.shape
        )

    return jax.tree.map(fitted, inputs, baseline)


def require_floating(inputs: Inputs) -> None:
    """Raises unless the inputs can be differentiated.

    Args:
        inputs: A pytree of arrays.

    Raises:
        ValueError: If an array is not floating-point.

    Example:
        >>> require_floating(jnp.array([[3, 4]]))
        Traceback (most recent call last):
        ...
        ValueError: inputs must be floating-point to be differentiated, got int32. Divide pixels by 255; for tokens, explain
        the layer of their embeddings (models.split_at), or perturb them (explain.occlusion).
    """
    for leaf in jax.tree.leaves(inputs):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"inputs must be floating-point to be differentiated, got {leaf.dtype}. Divide pixels by 255; for tokens, "
                "explain the layer of their embeddings (models.split_at), or perturb them (explain.occlusion)."
            )


def require_count(name: str, count: int, *, at_least: int = 1) -> None:
    """Raises unless an option is a whole number that is large enough.

    Args:
        name: Name of the option.
        count: Its value.
        at_least: The smallest value.

    Raises:
        ValueError: If it is smaller, or not a whole number.

    Example:
        >>> require_count("n_steps", 0)
        Traceback (most recent call last):
        ...
        ValueError: n_steps must be a whole number, 1 or more, got 0. Pass 64.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < at_least:
        raise ValueError(f"{name} must be a whole number, {at_least} or more, got {count!r}. Pass 64.")


def expanded(numbers: Shaped[Array, "rows"], array: Array) -> Array:
    """Returns one number per row with further axes of length 1, so that it meets an array of rows.

    Args:
        numbers: One for each row.
        array: Rows of any shape.

    Returns:
        The numbers, with as many axes as the array.

    Example:
        >>> expanded(jnp.ones(4), jnp.ones((4, 8, 8))).shape
        (4, 1, 1)
    """
    return numbers.reshape(-1, *itertools.repeat(1, array.ndim - 1))


def total(tree: PyTree) -> Float[Array, "rows"]:
    """Returns the sum over all entries of each row.

    Args:
        tree: A pytree of arrays with the axis of rows first.

    Returns:
        One sum for each row.

    Example:
        >>> total({"a": jnp.ones((2, 3)), "b": jnp.ones((2, 4, 4))}).tolist()
        [19.0, 19.0]
    """
    sums = [leaf.reshape(leaf.shape[0], -1).sum(axis=1) for leaf in jax.tree.leaves(tree)]
    return jnp.sum(jnp.stack(sums), axis=0)


def _classes(target: Any, shape: tuple[int, ...], n: int) -> Array:
    """Returns the class of each example; raises unless the outputs have these classes."""
    if len(shape) != 2 or shape[0] != n:
        raise ValueError(
            f"a class needs outputs (examples, classes), got outputs {shape} for {n} examples. Pass a function of the outputs as "
            "target."
        )
    classes = jnp.asarray(target)
    if not jnp.issubdtype(classes.dtype, jnp.integer) or classes.shape not in ((), (n,)):
        raise ValueError(
            f"target must be a class, or one for each of the {n} examples, got {classes.dtype} {classes.shape}. "
            "Pass an integer, or outputs.argmax(axis=1)."
        )
    if not isinstance(target, Tracer):
        wrong = [one for one in np.ravel(target).tolist() if not 0 <= one < shape[1]]
        if wrong:
            raise ValueError(
                f"target must be a class from 0 to {shape[1] - 1}, got {wrong[0]}: the outputs have {shape[1]} columns. "
                "Pass one of them."
            )
    return jnp.broadcast_to(classes, (n,))


def _require_one_per_example(rule: str, outputs: Any, *shapes: tuple[int, ...]) -> None:
    """Raises unless an array has one of the shapes."""
    shape = getattr(outputs, "shape", None)
    if shape not in shapes:
        raise ValueError(f"{rule}, {shapes[0]}, got shape {shape}. Pass a class, or a function of the outputs.")


def _structure(tree: Any) -> str:
    """Returns what a pytree consists of, for a message."""
    return f"a dict of {', '.join(map(str, tree))}" if isinstance(tree, dict) else type(tree).__name__

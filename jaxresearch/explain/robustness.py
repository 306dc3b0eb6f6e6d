"""Small changes of the inputs that change a prediction: FGSM, PGD, and the smallest radius at which PGD succeeds."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from jaxresearch import losses
from jaxresearch.explain.gradients import gradient
from jaxresearch.explain.scores import Rows, Score, expanded, n_examples, outputs_of, require_count, scored
from jaxresearch.explain.streaming import in_batches

Norm = Literal["linf", "l2"]
Labels = int | np.integer | Array | np.ndarray
Bounds = tuple[int | float, int | float] | None


def fgsm(
    predict: Callable[..., Array],
    inputs: Float[Array | np.ndarray, "examples *shape"],
    *,
    target: Labels,
    radius: ArrayLike,
    bounds: Bounds = None,
    loss: Callable[[Array, Array], Array] = losses.softmax_cross_entropy_with_integer_labels,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Float[Array, "examples *shape"]:
    r"""Returns inputs moved by the fast gradient sign method: one step along the sign of the loss's gradient.

    .. math:: x + \epsilon \, \text{sign}(\nabla_x \ell(f(x), y))

    Args:
        predict: ``inputs -> logits``, or ``(inputs, fixed) -> logits``: batches, with the parameters in a closure.
        inputs: Floating-point.
        target: The true class :math:`y`: one for all, or one for each example.
        radius: Size :math:`\epsilon` of the step in each entry; a number or one for each example, may be traced.
        bounds: Smallest and largest valid input, such as ``(0, 1)`` for pixels.
        loss: ``(logits, labels) -> losses``, one for each example.
        fixed: What ``predict`` also takes.
        batch_size: Examples per call of ``predict``.

    Returns:
        The moved inputs.

    Raises:
        ValueError: If the inputs are not floating-point, or the class does not exist.

    Example:
        >>> logits = lambda x: jnp.stack([x[:, 0], x[:, 1]], axis=1)
        >>> fgsm(logits, jnp.array([[1.0, 0.5]]), target=0, radius=0.25).tolist()
        [[0.75, 0.75]]

    References:
        Goodfellow, Shlens and Szegedy (2015), Explaining and harnessing adversarial examples, ICLR, section 4.
        https://arxiv.org/abs/1412.6572
    """
    score, rows = _loss_of(predict, inputs, target, loss, fixed)
    gradients = in_batches(lambda some: gradient(score, some), rows, batch_size=batch_size)
    moved = rows.inputs + _radii(radius, rows.inputs) * jnp.sign(gradients)
    return _clipped(moved, bounds)


def pgd(
    key: Array | None,
    predict: Callable[..., Array],
    inputs: Float[Array | np.ndarray, "examples *shape"],
    *,
    target: Labels,
    radius: ArrayLike,
    norm: Norm = "linf",
    n_steps: int = 40,
    step_size: ArrayLike | None = None,
    bounds: Bounds = None,
    loss: Callable[[Array, Array], Array] = losses.softmax_cross_entropy_with_integer_labels,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Float[Array, "examples *shape"]:
    r"""Returns inputs moved by projected gradient ascent on the loss, within a ball around each example.

    .. math:: x_{t+1} = \Pi_{\|x' - x\| \le \epsilon} \left( x_t + \alpha \, u(\nabla_x \ell(f(x_t), y)) \right)

    where :math:`u` is the sign for the largest norm, and the direction of length 1 for the Euclidean norm. The start is uniform
    in the ball, or the example itself.

    Args:
        key: Random key of the start. None starts from the examples.
        predict: As in `fgsm`, like all arguments of the same name.
        inputs: Floating-point.
        target: The true class.
        radius: Radius :math:`\epsilon` of the ball; a number or one for each example, may be traced.
        norm: ``"linf"``, the largest change of an entry, or ``"l2"``, the Euclidean norm of the change.
        n_steps: Number of steps.
        step_size: :math:`\alpha`, in units of the inputs; ``2.5 * radius / n_steps`` by default.
        bounds: Smallest and largest valid input.
        loss: ``(logits, labels) -> losses``, one for each example.
        fixed: What ``predict`` also takes.
        batch_size: Examples per call of ``predict``.

    Returns:
        The inputs of the largest loss among the iterates.

    Raises:
        ValueError: If ``norm`` is neither, ``n_steps`` is not positive, or the inputs or the class do not fit.

    Example:
        >>> logits = lambda x: jnp.stack([x[:, 0], x[:, 1]], axis=1)
        >>> moved = pgd(jax.random.key(0), logits, jnp.array([[1.0, 0.5]]), target=0, radius=0.25)
        >>> [round(float(entry), 3) for entry in moved[0]]
        [0.75, 0.75]

    References:
        Madry, Makelov, Schmidt, Tsipras and Vladu (2018), Towards deep learning models resistant to adversarial attacks, ICLR,
        section 2.1. https://arxiv.org/abs/1706.06083
    """
    require_count("n_steps", n_steps)
    _require_norm(norm)
    score, rows = _loss_of(predict, inputs, target, loss, fixed)
    radii = _radii(radius, rows.inputs)
    step_sizes = radii * 2.5 / n_steps if step_size is None else _radii(step_size, rows.inputs, name="step_size")

    def attack(examples: Any) -> Array:
        return _ascent(score, *examples, norm=norm, n_steps=n_steps, bounds=bounds)

    start = rows.inputs if key is None else _start(key, rows.inputs, radii, norm)
    examples = rows, start, radii, step_sizes
    return in_batches(attack, examples, batch_size=batch_size)


def adversarial_accuracy(
    key: Array,
    predict: Callable[..., Array],
    inputs: Float[Array | np.ndarray, "examples *shape"],
    *,
    target: Labels,
    radii: ArrayLike,
    norm: Norm = "linf",
    n_steps: int = 20,
    bounds: Bounds = None,
    batch_size: int | None = None,
) -> Float[Array, "radii"]:
    """Returns the fraction of examples that are still classified correctly after `pgd`, for each radius.

    An example counts as wrong if it was wrong before the attack. It is an upper bound of the accuracy against the best attack.

    Args:
        key: Random key of the starts, the same for all radii.
        predict: As in `fgsm`, like all arguments of the same name.
        inputs: Floating-point.
        target: The true class of each example.
        radii: Sizes of the perturbation, in units of the inputs.
        norm: ``"linf"`` or ``"l2"``.
        n_steps: Number of steps of each attack.
        bounds: Smallest and largest valid input.
        batch_size: Examples per call of ``predict``.

    Returns:
        Accuracies; that of radius 0 is the accuracy of the model.

    Raises:
        ValueError: As in `pgd`.

    Example:
        >>> logits = lambda x: jnp.stack([x[:, 0], x[:, 1]], axis=1)
        >>> inputs = jnp.array([[1.0, 0.5], [1.0, 0.0]])
        >>> adversarial_accuracy(jax.random.key(0), logits, inputs, target=0, radii=jnp.array([0.0, 0.3, 0.6])).tolist()
        [1.0, 0.5, 0.0]

    References:
        Madry, Makelov, Schmidt, Tsipras and Vladu (2018), as in `pgd`, figure 6.
    """
    _, rows = _loss_of(predict, inputs, target, losses.softmax_cross_entropy_with_integer_labels, None)

    def is_right(moved: Array) -> Array:
        outputs = in_batches(lambda some: outputs_of(predict, some), rows._replace(inputs=moved), batch_size=batch_size)
        return outputs.argmax(axis=1) == rows.classes

    right = is_right(rows.inputs)

    def accuracy(radius: Array) -> Array:
        options = {"norm": norm, "n_steps": n_steps, "bounds": bounds, "batch_size": batch_size}
        again = jax.random.clone(key)  # the same directions at all radii
        moved = pgd(again, predict, rows.inputs, target=rows.classes, radius=radius, **options)
        return (right & is_right(moved)).mean()

    return jax.lax.map(accuracy, jnp.asarray(radii, rows.inputs.dtype))


class Smallest(NamedTuple):
    """The smallest perturbation found for each example.

    Attributes:
        radius: The radius at which the class changes: 0 if the prediction is wrong already, infinite if none was found.
        inputs: The perturbed inputs of another class, ``(examples, ...)``; unchanged where there are none.
        found: Whether another class was found.
    """

    radius: Float[Array, "examples"]
    inputs: Array
    found: Bool[Array, "examples"]


def smallest_perturbation(
    predict: Callable[..., Array],
    inputs: Float[Array | np.ndarray, "examples *shape"],
    *,
    target: Labels,
    largest: int | float,
    norm: Norm = "linf",
    n_bisections: int = 12,
    n_steps: int = 40,
    bounds: Bounds = None,
    loss: Callable[[Array, Array], Array] = losses.softmax_cross_entropy_with_integer_labels,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Smallest:
    r"""Returns the smallest perturbation of each example that changes its class, by bisection over the radius of `pgd`.

    It is an upper bound of the distance to the decision boundary: an attack that fails proves nothing. The radius is exact up to
    ``largest / 2**n_bisections`` in the sense of `pgd`, which starts from the examples.

    Args:
        predict: As in `fgsm`, like all arguments of the same name.
        inputs: Floating-point.
        target: The true class.
        largest: Largest radius that is tried.
        norm: ``"linf"`` or ``"l2"``.
        n_bisections: Number of halvings.
        n_steps: Number of steps of each attack.
        bounds: Smallest and largest valid input.
        loss: ``(logits, labels) -> losses``, one for each example.
        fixed: What ``predict`` also takes.
        batch_size: Examples per call of ``predict``.

    Returns:
        Radii, perturbed inputs, and whether any were found.

    Raises:
        ValueError: As in `pgd`, or if ``largest`` is not positive.

    Example:
        >>> logits = lambda x: jnp.stack([x[:, 0], x[:, 1]], axis=1)
        >>> smallest = smallest_perturbation(logits, jnp.array([[1.0, 0.5]]), target=0, largest=1.0)
        >>> round(float(smallest.radius[0]), 2), bool(smallest.found[0])  # half the difference of the entries
        (0.25, True)

    References:
        Madry, Makelov, Schmidt, Tsipras and Vladu (2018), as in `pgd`, for the attack at each radius.
    """
    require_count("n_bisections", n_bisections)
    if largest <= 0:
        raise ValueError(f"largest must be positive, got {largest}. Pass 1.0.")
    _, rows = _loss_of(predict, inputs, target, loss, fixed)
    options = {"norm": norm, "n_steps": n_steps, "bounds": bounds, "loss": loss, "batch_size": batch_size}

    def changed(inputs: Array) -> Bool[Array, "examples"]:
        some = rows._replace(inputs=inputs)
        outputs = in_batches(lambda some: outputs_of(predict, some), some, batch_size=batch_size)
        return outputs.argmax(axis=1) != rows.classes

    def attempt(low: Array, high: Array, best: Array, radius: Array) -> Any:
        moved = pgd(
            None,
            predict,
            rows.inputs,
            target=rows.classes,
            radius=radius,
            fixed=fixed,
            **options,
        )
        success = changed(moved)
        best = jnp.where(expanded(success, moved), moved, best)
        return jnp.where(success, low, radius), jnp.where(success, radius, high), best

    n = n_examples(rows)
    zeros = jnp.zeros(n)
    low, high, best = attempt(zeros, jnp.full(n, jnp.inf), rows.inputs, jnp.full(n, float(largest)))
    found = high < jnp.inf

    def halve(_: Any, state: Any) -> Any:
        low, high, best = state
        middle = jnp.where(found, (jnp.where(found, low, 0) + jnp.where(found, high, 0)) / 2, largest)
        return attempt(low, high, best, middle)

    low, high, best = jax.lax.fori_loop(0, n_bisections, halve, (jnp.where(found, 0.0, low), high, best))
    wrong = changed(rows.inputs)
    best = jnp.where(expanded(wrong, best), rows.inputs, best)
    return Smallest(jnp.where(wrong, 0.0, high), best, wrong | (high < jnp.inf))


def _loss_of(predict: Any, inputs: Any, target: Any, loss: Any, fixed: Any) -> tuple[Score, Rows]:
    """Returns the loss of rows, and the examples as rows; raises unless the target is a class."""
    if target is None or callable(target):
        raise ValueError("target must be the true class of each example, got none. Pass the labels.")
    _, rows = scored(predict, inputs, target=target, fixed=fixed)
    return (lambda some: loss(outputs_of(predict, some), some.classes)), rows


def _ascent(
    score: Score,
    rows: Rows,
    start: Array,
    radii: Array,
    step_sizes: Array,
    *,
    norm: Norm,
    n_steps: int,
    bounds: Bounds,
) -> Array:
    """Returns the iterate of the largest loss of projected gradient ascent."""
    centre = rows.inputs

    def value_and_gradient(inputs: Array) -> tuple[Array, Array]:
        def total_and_each(inputs: Array) -> tuple[Array, Array]:
            each = score(rows._replace(inputs=inputs))
            return each.sum(), each

        (_, each), gradients = jax.value_and_grad(total_and_each, has_aux=True)(inputs)
        return each, gradients

    def step(_: Any, state: Any) -> Any:
        now, best, largest = state
        each, gradients = value_and_gradient(now)
        better = each > largest
        best = jnp.where(expanded(better, now), now, best)
        direction = jnp.sign(gradients) if norm == "linf" else gradients / jnp.maximum(_lengths(gradients), 1e-12)
        moved = centre + _projected(now + step_sizes * direction - centre, radii, norm)
        return _clipped(moved, bounds), best, jnp.where(better, each, largest)

    start = _clipped(start, bounds)
    lowest = jnp.full(len(centre), -jnp.inf)
    last, best, largest = jax.lax.fori_loop(0, n_steps, step, (start, start, lowest))
    return jnp.where(expanded(score(rows._replace(inputs=last)) >= largest, last), last, best)


def _start(key: Array, inputs: Array, radii: Array, norm: Norm) -> Array:
    """Returns a uniform draw from the ball around each example."""
    if norm == "linf":
        return inputs + radii * jax.random.uniform(key, inputs.shape, inputs.dtype, -1, 1)
    direction_key, length_key = jax.random.split(key)
    direction = jax.random.normal(direction_key, inputs.shape, inputs.dtype)
    n_entries = max(inputs[0].size, 1)
    lengths = jax.random.uniform(length_key, radii.shape, inputs.dtype) ** (1 / n_entries)
    return inputs + radii * lengths * direction / jnp.maximum(_lengths(direction), 1e-12)


def _projected(change: Array, radii: Array, norm: Norm) -> Array:
    """Returns the nearest point of the ball."""
    if norm == "linf":
        return jnp.clip(change, -radii, radii)
    return change * jnp.minimum(1, radii / jnp.maximum(_lengths(change), 1e-12))


def _lengths(change: Array) -> Array:
    """Returns the Euclidean norm of each example, with axes of length 1."""
    return jnp.sqrt((change**2).sum(axis=tuple(range(1, change.ndim)), keepdims=True))


def _radii(radius: ArrayLike, inputs: Array, *, name: str = "radius") -> Array:
    """Returns the radius (or step size) of each example, with axes of length 1."""
    radii = jnp.asarray(radius, inputs.dtype)
    if radii.shape not in ((), (len(inputs),)):
        raise ValueError(
            f"{name} must be a number, or one for each of the {len(inputs)} examples, got shape {radii.shape}. Pass 0.1."
        )
    return expanded(jnp.broadcast_to(radii, (len(inputs),)), inputs)


def _clipped(inputs: Array, bounds: Bounds) -> Array:
    """Returns inputs within their bounds."""
    return inputs if bounds is None else jnp.clip(inputs, *bounds)


def _require_norm(norm: str) -> None:
    """Raises unless the norm is known."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be {' or '.join(get_args(Norm))}, got {norm!r}. Pass one of them.")

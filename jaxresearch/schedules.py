"""Learning-rate schedules: a unit shape times a peak, which may be traced, and therefore swept or differentiated.

Optax's own schedules compare their arguments in Python, so they cannot take a traced peak or warm-up; these can. A
schedule maps the number of steps taken so far to a step size, and works wherever Optax expects one.
"""

import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Shape = Literal["constant", "linear", "cosine"]
Number = int | float | Float[Array, ""] | Int[Array, ""]


def named(shape: Shape, peak: Number, n_steps: int) -> optax.Schedule:
    r"""Returns the schedule with a named shape, so that an experiment can offer the shape as an option.

    ============  =========================================
    shape         step size after t of T steps
    ============  =========================================
    ``constant``  peak
    ``linear``    peak (1 - t / T)
    ``cosine``    peak (1 + cos(pi t / T)) / 2
    ============  =========================================

    Args:
        shape: A name from the table.
        peak: Step size at the start, at least 0; may be traced.
        n_steps: Number of steps of the run, T, 1 or more.

    Returns:
        ``(count) -> step size``, constant after T steps.

    Raises:
        ValueError: If the shape is unknown or a number is out of range.

    Example:
        >>> schedule = named("linear", 2e-3, 100)
        >>> [round(float(schedule(count)), 5) for count in (0, 50, 100)]
        [0.002, 0.001, 0.0]

    References:
        Loshchilov and Hutter (2017), SGDR: stochastic gradient descent with warm restarts, ICLR, equation 5 (cosine).
        https://arxiv.org/abs/1608.03983
    """
    _require_at_least_0(peak=peak)
    _require_steps(n_steps)
    if shape == "constant":
        return optax.constant_schedule(peak)
    if shape == "linear":
        return lambda count: peak * _line(count, 1.0, 0.0, n_steps)
    if shape == "cosine":
        return lambda count: peak * _half_cosine(count, n_steps, 0.0)
    raise ValueError(f"shape must be one of {', '.join(get_args(Shape))}, got {shape!r}. Pass one of these names.")


def warmup_cosine(peak: Number, n_steps: int, *, warmup: Number, final: Number = 0.0) -> optax.Schedule:
    r"""Returns a linear warm-up from 0 to a peak, followed by half a cosine down to a fraction of the peak.

    .. math:: \eta_t = \eta \begin{cases} t / W & t < W \\
        f + \frac{1 - f}{2} \left(1 + \cos \pi \frac{t - W}{T - W}\right) & t \ge W \end{cases}

    Args:
        peak: The largest step size, at least 0; may be traced.
        n_steps: Number of steps of the run, T, 1 or more.
        warmup: Steps of the warm-up, W, from 0 to less than ``n_steps``; may be traced.
        final: Final step size as a fraction f of the peak, 0 to 1; may be traced.

    Returns:
        ``(count) -> step size``, constant after T steps.

    Raises:
        ValueError: If a Python number is out of range.

    Example:
        >>> schedule = warmup_cosine(1.0, 110, warmup=10, final=0.1)
        >>> [round(float(schedule(count)), 3) for count in (0, 5, 10, 60, 110)]
        [0.0, 0.5, 1.0, 0.55, 0.1]

    References:
        Loshchilov and Hutter (2017), SGDR: stochastic gradient descent with warm restarts, ICLR, equation 5.
        https://arxiv.org/abs/1608.03983
        Goyal et al. (2017), Accurate, large minibatch SGD, section 2.2 (gradual warm-up). https://arxiv.org/abs/1706.02677
    """
    _require_at_least_0(peak=peak)
    _require_steps(n_steps)
    if isinstance(warmup, int | float) and not 0 <= warmup < n_steps:
        raise ValueError(
            f"warmup must be from 0 to below the {n_steps} steps of the run, got {warmup}. Pass steps, such as n_steps // 20."
        )
    if isinstance(final, int | float) and not 0 <= final <= 1:
        raise ValueError(f"final must be from 0 to 1, got {final}. It is a fraction of the peak.")

    def schedule(count: Any) -> Any:
        rise = _line(count, 0.0, 1.0, warmup)
        return peak * jnp.where(count < warmup, rise, _half_cosine(count - warmup, n_steps - warmup, final))

    return schedule


def piecewise_linear(peak: Number, knots: tuple[Number, ...], n_steps: int) -> optax.Schedule:
    """Returns the schedule that interpolates linearly between knots at equal intervals, from the first step to the last.

    Args:
        peak: Step size at a knot of 1, at least 0; may be traced.
        knots: One or more step sizes in units of the peak, each at least 0; may be traced.
        n_steps: Number of steps of the run, 1 or more.

    Returns:
        ``(count) -> step size``, equal to the last knot after ``n_steps``.

    Raises:
        ValueError: If there is no knot or a Python number is out of range.

    Example:
        >>> schedule = piecewise_linear(0.1, (0.0, 1.0, 0.5), 100)
        >>> [round(float(schedule(count)), 4) for count in (0, 25, 50, 100)]
        [0.0, 0.05, 0.1, 0.05]
    """
    _require_at_least_0(peak=peak, **{f"knots[{i}]": knot for i, knot in enumerate(knots)})
    _require_steps(n_steps)
    if not knots:
        raise ValueError("knots must hold at least one number, got none. Pass (1.0, 1.0) for a constant rate.")
    times = jnp.linspace(0.0, n_steps, len(knots))
    heights = jnp.stack([jnp.asarray(knot) for knot in knots])
    return lambda count: peak * jnp.interp(count, times, heights)


def adamw(
    peak: Number,
    n_steps: int,
    *,
    warmup: Number,
    final: Number = 0.0,
    weight_decay: Number,
    b2: float = 0.999,
    max_norm: float | None = None,
) -> optax.GradientTransformation:
    """Returns AdamW with a linear warm-up and a cosine decay, the usual optimizer for transformers.

    Args:
        peak: The largest step size, at least 0; may be traced.
        n_steps: Number of steps of the run, 1 or more.
        warmup: Steps of the warm-up, as in `warmup_cosine`.
        final: Final step size as a fraction of the peak, 0 to 1; may be traced.
        weight_decay: Fraction of the parameters that a step of size 1 removes, at least 0; may be traced.
        b2: Decay rate of the mean squared gradient, 0 to below 1.
        max_norm: Limit on the global gradient norm; larger gradients are scaled down to it. None for no limit.

    Returns:
        An Optax transformation.

    Raises:
        ValueError: If a Python number is out of range.

    Example:
        >>> optimizer = adamw(1e-3, 100, warmup=5, weight_decay=0.1, max_norm=1.0)
        >>> params = {"weights": jnp.ones(3)}
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> bool((updates["weights"] == 0).all())  # the warm-up starts at 0
        True

    References:
        Loshchilov and Hutter (2019), Decoupled weight decay regularization, ICLR, algorithm 2.
        https://arxiv.org/abs/1711.05101
        Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural networks, ICML, algorithm 1
        (gradients of a bounded norm). https://arxiv.org/abs/1211.5063
    """
    _require_at_least_0(weight_decay=weight_decay)
    if not 0 <= b2 < 1:
        raise ValueError(f"b2 must be from 0 to below 1, got {b2}. Pass 0.999, or 0.99 for short runs.")
    if max_norm is not None and not max_norm > 0:
        raise ValueError(f"max_norm must be above 0, got {max_norm}. Leave it out for unbounded gradients.")
    schedule = warmup_cosine(peak, n_steps, warmup=warmup, final=final)
    adam = optax.adamw(schedule, b2=b2, weight_decay=weight_decay)
    return adam if max_norm is None else optax.chain(optax.clip_by_global_norm(max_norm), adam)


def scale_body(rate: Number, *, head: str = "head") -> optax.GradientTransformation:
    """Returns the transformation that scales the updates of all layers except the head, for fine-tuning.

    Chain it after an optimizer. A rate of 0 freezes the layers below the head.

    Args:
        rate: Step size of the other layers relative to the head's, at least 0; may be traced.
        head: Key of the head in the parameters, a dict.

    Returns:
        An Optax transformation.

    Raises:
        ValueError: If a Python number is out of range.

    Example:
        >>> updates, scaling = {"embedding": jnp.ones(2), "head": jnp.ones(2)}, scale_body(0.5)
        >>> scaled, _ = scaling.update(updates, scaling.init(updates))
        >>> scaled["embedding"].tolist(), scaled["head"].tolist()
        ([0.5, 0.5], [1.0, 1.0])

    References:
        Howard and Ruder (2018), Universal language model fine-tuning for text classification, ACL, section 3.2, equation 2.
        https://arxiv.org/abs/1801.06146
    """
    _require_at_least_0(rate=rate)

    def is_body(params: Any) -> Any:
        return {name: name != head for name in params}

    return optax.masked(optax.scale(rate), is_body)


def _line(count: Any, start: float, end: float, n_steps: Number) -> Any:
    """Returns a linear ramp from one value to another, constant afterwards."""
    length = max(n_steps, 1) if isinstance(n_steps, int | float) else jnp.maximum(n_steps, 1)
    return (start - end) * (1 - jnp.clip(count, 0, n_steps) / length) + end


def _half_cosine(count: Any, n_steps: Number, final: Number) -> Any:
    """Returns half a cosine from 1 to a final value, constant afterwards."""
    count = jnp.minimum(count, n_steps * 1.0)
    return (1 - final) * (0.5 * (1 + jnp.cos(jnp.pi * count / n_steps))) + final


def _require_at_least_0(**numbers: Number) -> None:
    """Raises for the first Python number that is negative or not finite; arrays may be traced and are not checked."""
    for name, number in numbers.items():
        if isinstance(number, int | float) and not (number >= 0 and math.isfinite(number)):
            raise ValueError(f"{name} must be a finite number of at least 0, got {number}. Pass one in that range.")


def _require_steps(n_steps: int) -> None:
    """Raises unless the number of steps is a positive Python integer."""
    if isinstance(n_steps, jax.Array) or n_steps < 1:
        raise ValueError(f"n_steps must be a Python integer of 1 or more, got {n_steps}. Pass plan.n_steps.")

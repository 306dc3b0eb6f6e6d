"""Hypergradients through the steps of a run: forward mode, reverse mode, or truncated to the last steps."""

import jax

from jaxresearch.hypergradients.unroll import (
    Hypergradient,
    Unroll,
    _floats,
    _periods,
    _require_positive,
    _segments,
    _without_looks,
)


def forward(unroll: Unroll, *, n_steps: int) -> Hypergradient:
    r"""Returns the exact hypergradient by forward mode, which carries the tangent of the state.

    .. math:: Z_{t+1} = \partial_\theta \Phi_t Z_t + \partial_\lambda \Phi_t, \quad
              \frac{dL}{d\lambda} = \partial_\theta L \, Z_T + \partial_\lambda L

    Memory is constant in the number of steps; cost grows with the number of hyperparameters. Use it for a few of them.

    Args:
        unroll: The run.
        n_steps: Steps of the run, 1 or more.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If ``n_steps`` is not positive or (when called) a hyperparameter is not a float.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxresearch.hypergradients import Unroll
        >>> start = lambda key, h, train: jnp.zeros(())
        >>> steps = lambda key, h, state, train, step, n: state + n * h["rate"]
        >>> unrolled = Unroll(start, steps, lambda key, h, state, validation: state ** 2 / 2)
        >>> loss, gradient = forward(unrolled, n_steps=3)(jax.random.key(0), {"rate": 2.0}, {}, {})
        >>> float(loss), float(gradient["rate"])
        (18.0, 18.0)

    References:
        Franceschi, Donini, Frasconi and Pontil (2017), Forward and reverse gradient-based hyperparameter optimization,
        ICML, equations 13 to 15. https://arxiv.org/abs/1703.01785
    """
    _require_positive(n_steps=n_steps)

    def hypergradient(key, hyperparameters, train, validation):
        def loss(hyperparameters):
            state = unroll.init(key, hyperparameters, train)
            state = _periods(unroll, key, hyperparameters, state, train, validation, n_steps)
            value = unroll.loss(key, hyperparameters, state, validation)
            return value, value

        gradient, value = jax.jacfwd(loss, has_aux=True)(_floats(hyperparameters))
        return value, gradient

    return hypergradient


def reverse(unroll: Unroll, *, n_steps: int, segment: int | None = None) -> Hypergradient:
    r"""Returns the exact hypergradient by reverse mode, storing the state only between segments of steps.

    The backward pass recomputes each segment from its start. Segments of :math:`s` steps need the memory of
    :math:`T/s + s` steps, which is least at :math:`s = \sqrt T`. The cost does not grow with the number of hyperparameters.
    Recomputed segments reuse their keys on purpose, which ``jax_debug_key_reuse`` reports as an error.

    Args:
        unroll: The run.
        n_steps: Steps of the run, 1 or more.
        segment: Steps between stored states; by default the square root of ``n_steps``. If the run looks at validation data,
            states are stored between the looks instead.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If a number of steps is not positive or (when called) a hyperparameter is not a float.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxresearch.hypergradients import Unroll
        >>> start = lambda key, h, train: jnp.zeros(())
        >>> steps = lambda key, h, state, train, step, n: state + n * h["rate"]
        >>> unrolled = Unroll(start, steps, lambda key, h, state, validation: state ** 2 / 2)
        >>> loss, gradient = reverse(unrolled, n_steps=3)(jax.random.key(0), {"rate": 2.0}, {}, {})
        >>> float(loss), float(gradient["rate"])
        (18.0, 18.0)

    References:
        Chen, Xu, Zhang and Guestrin (2016), Training deep nets with sublinear memory cost, section 4.
        https://arxiv.org/abs/1604.06174
        Franceschi, Donini, Frasconi and Pontil (2017), as in `forward`, equations 9 to 11.
    """
    _require_positive(n_steps=n_steps, segment=1 if segment is None else segment)

    def hypergradient(key, hyperparameters, train, validation):
        def loss(hyperparameters):
            state = unroll.init(key, hyperparameters, train)
            if unroll.look is not None:
                state = _periods(unroll, key, hyperparameters, state, train, validation, n_steps, checkpoint=True)
            else:
                state = _segments(unroll, key, hyperparameters, state, train, (0, n_steps), segment)
            return unroll.loss(key, hyperparameters, state, validation)

        return jax.value_and_grad(loss)(_floats(hyperparameters))

    return hypergradient


def truncated(unroll: Unroll, *, n_steps: int, last: int, segment: int | None = None) -> Hypergradient:
    r"""Returns the hypergradient through the last steps only, treating the state before them as constant.

    .. math:: \frac{dL}{d\lambda} \approx \partial_\lambda L + \sum_{t > T-K} \partial_\theta L
              \Bigl(\prod_{s > t} \partial_\theta \Phi_s\Bigr) \partial_\lambda \Phi_t

    It is biased; the bias decays exponentially in ``last`` if the training loss is locally strongly convex.

    Args:
        unroll: The run.
        n_steps: Steps of the run, 1 or more.
        last: Number of steps to differentiate through, 1 to ``n_steps``. With all steps it equals `reverse`, except that the
            initial state is constant.
        segment: As in `reverse`, within the last steps.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If a number of steps is out of range or (when called) a hyperparameter is not a float.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxresearch.hypergradients import Unroll
        >>> start = lambda key, h, train: jnp.zeros(())
        >>> steps = lambda key, h, state, train, step, n: state + n * h["rate"]
        >>> unrolled = Unroll(start, steps, lambda key, h, state, validation: state ** 2 / 2)
        >>> loss, gradient = truncated(unrolled, n_steps=3, last=1)(jax.random.key(0), {"rate": 2.0}, {}, {})
        >>> float(loss), float(gradient["rate"])
        (18.0, 6.0)

    References:
        Shaban, Cheng, Hatch and Boots (2019), Truncated back-propagation for bilevel optimization, AISTATS, section 3.
        https://arxiv.org/abs/1810.10667
    """
    _without_looks(unroll, "truncated")
    _require_positive(n_steps=n_steps, last=last, segment=1 if segment is None else segment)
    if last > n_steps:
        raise ValueError(f"last must be at most n_steps = {n_steps}; got {last}. Use reverse for the whole run.")

    def hypergradient(key, hyperparameters, train, validation):
        hyperparameters = _floats(hyperparameters)
        constant = unroll.init(key, hyperparameters, train)
        if last < n_steps:
            constant = unroll.advance(key, hyperparameters, constant, train, 0, n_steps - last)

        def loss(hyperparameters):
            state = _segments(unroll, key, hyperparameters, constant, train, (n_steps - last, last), segment)
            return unroll.loss(key, hyperparameters, state, validation)

        return jax.value_and_grad(loss)(hyperparameters)

    return hypergradient

r"""Hypergradients: the derivative of a run's validation loss with respect to its hyperparameters.

All are made from a `Unroll` and have one signature, so that they exchange::

    (key, hyperparameters, train, validation) -> (validation loss, gradient)

where ``gradient`` has the structure of the hyperparameters.

===============  ================================================  ==================  ===============================
made by          what it differentiates                            memory              cost, in runs, of m numbers
===============  ================================================  ==================  ===============================
`forward`        the whole run, exactly                            constant in steps   1 + m
`reverse`        the whole run, exactly                            root of the steps   about 4, whatever m
`truncated`      the last steps alone                              root of these       1 + 4 of these steps
`implicit`       an optimum, wherever the run started              constant in steps   1, and the solver's products
`evolution`      a smoothed run, from values alone                 constant in steps   2 a pair of draws
===============  ================================================  ==================  ===============================
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from jaxresearch.gradients import Batch
from jaxresearch.training import TrainState

Hypergradient = Callable[[Key[Array, ""], Any, Batch, Batch], tuple[Float[Array, ""], Any]]
TrainingLoss = Callable[[PyTree[Array], Any, TrainState, Batch], Float[Array, ""]]

_NOISE = 2**32 - 1  # the stream of perturbations; those of a run count from 0


class Unroll(NamedTuple):
    """A run in the pieces that hypergradients put together: its start, its steps, the loss at its end.

    ``init(key, hyperparameters, train) -> state``, ``advance(key, hyperparameters, state, train, n_steps) -> state``,
    ``loss(hyperparameters, state, validation) -> loss``. `unroll_of` makes it from an experiment's program.
    """

    init: Callable[[Any, Any, Batch], TrainState]
    advance: Callable[[Any, Any, TrainState, Batch, int], TrainState]
    loss: Callable[[Any, TrainState, Batch], Float[Array, ""]]


def unroll_of(program: Any, *, metric: str) -> Unroll:
    """Returns the run of an experiment in these pieces, with a metric of its evaluation as the validation loss.

    Args:
        program: The pure functions of an experiment, by `jaxresearch.experiment.program`.
        metric: What to differentiate: one of the experiment's metrics, smooth, and better the smaller it is.

    Returns:
        The start, the steps and the loss of the run.

    Raises:
        ValueError: When its loss is called, if the experiment does not report the metric.

    Example:
        >>> from jaxresearch import data, experiment
        >>> mnist = loading.load("mnist")
        >>> unrolled = unroll_of(experiment.program(mnist, data.load("mnist").card), metric="log_loss")
        >>> hypergradient = forward(unrolled, n_steps=9375)  # compile it with jax.jit, vmap it over seeds

    References:
        Franceschi, Donini, Frasconi and Pontil (2017), as in `forward`, section 2.
    """

    def loss(hyperparameters, state, validation):
        metrics = program.evaluate(hyperparameters, state, validation)
        if metric not in metrics:
            raise ValueError(f"metric must be one of {', '.join(metrics)}; got {metric!r}. Choose a smooth one.")
        return metrics[metric]

    return Unroll(program.init, lambda *args: program.advance(*args)[0], loss)


def forward(unroll: Unroll, *, n_steps: int) -> Hypergradient:
    r"""Returns the exact hypergradient by forward mode: the tangent of the state is carried along with it.

    .. math:: Z_{t+1} = \partial_\theta \Phi_t Z_t + \partial_\lambda \Phi_t, \quad
              \frac{dL}{d\lambda} = \partial_\theta L \, Z_T + \partial_\lambda L

    The memory does not grow with the steps, the cost grows with the number of hyperparameters: for a few of them.

    Args:
        unroll: The run.
        n_steps: Steps of the whole run, 1 or more.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If ``n_steps`` is not positive or (when called) a hyperparameter is not a float.

    Example:
        >>> start = lambda key, h, train: TrainState(jnp.int32(0), jnp.zeros(()), {}, ())
        >>> steps = lambda key, h, state, train, n: state._replace(params=state.params + n * h["rate"])
        >>> unrolled = Unroll(start, steps, lambda h, state, validation: state.params ** 2 / 2)
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
            state = unroll.advance(key, hyperparameters, state, train, n_steps)
            value = unroll.loss(hyperparameters, state, validation)
            return value, value

        gradient, value = jax.jacfwd(loss, has_aux=True)(_floats(hyperparameters))
        return value, gradient

    return hypergradient


def reverse(unroll: Unroll, *, n_steps: int, segment: int | None = None) -> Hypergradient:
    r"""Returns the exact hypergradient by reverse mode, with the state kept only at the ends of segments of steps.

    Going back, each segment is made again from its start, so memory is that of :math:`T/s + s` steps for segments of
    :math:`s`, least at :math:`s = \sqrt T`. The cost does not grow with the number of hyperparameters. A segment that is
    made again draws the same numbers from the same keys, as it must; ``jax_debug_key_reuse`` takes that for a mistake.

    Args:
        unroll: The run.
        n_steps: Steps of the whole run, 1 or more.
        segment: Steps between two states that are kept; the root of ``n_steps`` unless given.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If a number of steps is not positive or (when called) a hyperparameter is not a float.

    Example:
        >>> start = lambda key, h, train: TrainState(jnp.int32(0), jnp.zeros(()), {}, ())
        >>> steps = lambda key, h, state, train, n: state._replace(params=state.params + n * h["rate"])
        >>> unrolled = Unroll(start, steps, lambda h, state, validation: state.params ** 2 / 2)
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
            state = _segments(unroll, key, hyperparameters, state, train, n_steps, segment)
            return unroll.loss(hyperparameters, state, validation)

        return jax.value_and_grad(loss)(_floats(hyperparameters))

    return hypergradient


def truncated(unroll: Unroll, *, n_steps: int, last: int, segment: int | None = None) -> Hypergradient:
    r"""Returns the hypergradient through the last steps alone: the state before them counts as given.

    .. math:: \frac{dL}{d\lambda} \approx \partial_\lambda L + \sum_{t > T-K} \partial_\theta L
              \Bigl(\prod_{s > t} \partial_\theta \Phi_s\Bigr) \partial_\lambda \Phi_t

    It is biased, and the bias falls exponentially with ``last`` where the training loss is locally strongly convex.

    Args:
        unroll: The run.
        n_steps: Steps of the whole run, 1 or more.
        last: Steps to differentiate through, 1 to ``n_steps``; with all of them it is `reverse`, but for what the
            start of the run depends on.
        segment: As in `reverse`, within the last steps.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If a number of steps is out of range or (when called) a hyperparameter is not a float.

    Example:
        >>> start = lambda key, h, train: TrainState(jnp.int32(0), jnp.zeros(()), {}, ())
        >>> steps = lambda key, h, state, train, n: state._replace(params=state.params + n * h["rate"])
        >>> unrolled = Unroll(start, steps, lambda h, state, validation: state.params ** 2 / 2)
        >>> loss, gradient = truncated(unrolled, n_steps=3, last=1)(jax.random.key(0), {"rate": 2.0}, {}, {})
        >>> float(loss), float(gradient["rate"])
        (18.0, 6.0)

    References:
        Shaban, Cheng, Hatch and Boots (2019), Truncated back-propagation for bilevel optimization, AISTATS, section 3.
        https://arxiv.org/abs/1810.10667
    """
    _require_positive(n_steps=n_steps, last=last, segment=1 if segment is None else segment)
    if last > n_steps:
        raise ValueError(f"last must be at most n_steps = {n_steps}; got {last}. Use reverse for the whole run.")

    def hypergradient(key, hyperparameters, train, validation):
        hyperparameters = _floats(hyperparameters)
        given = unroll.init(key, hyperparameters, train)
        if last < n_steps:
            given = unroll.advance(key, hyperparameters, given, train, n_steps - last)

        def loss(hyperparameters):
            state = _segments(unroll, key, hyperparameters, given, train, last, segment)
            return unroll.loss(hyperparameters, state, validation)

        return jax.value_and_grad(loss)(hyperparameters)

    return hypergradient


def implicit(
    unroll: Unroll,
    training_loss: TrainingLoss,
    *,
    n_steps: int,
    solver: Literal["cg", "neumann"] = "cg",
    n_terms: int = 100,
    scale: int | float = 1.0,
) -> Hypergradient:
    r"""Returns the hypergradient at an optimum of the training loss, by the implicit function theorem.

    .. math:: \frac{dL}{d\lambda} = \partial_\lambda L - \partial_\theta L \, H^{-1} \, \partial_\theta \partial_\lambda
              L_\text{train}, \qquad H = \partial^2_\theta L_\text{train}

    It does not ask how the optimum was reached, and is as right as the run has come near to it. Hyperparameters that do
    not appear in the training loss (a learning rate) have no part in the optimum, and the derivative zero.

    ==========  =================================================================  ====================================
    solver      how :math:`H^{-1} v` is found, from products with H alone          needs
    ==========  =================================================================  ====================================
    "cg"        conjugate gradient, to a residual of 1e-10 or ``n_terms`` steps    H positive definite
    "neumann"   :math:`\alpha \sum_{k < n} (I - \alpha H)^k v`                     eigenvalues of H in (0, 2/alpha)
    ==========  =================================================================  ====================================

    Args:
        unroll: The run to the optimum.
        training_loss: ``(params, hyperparameters, state, train) -> loss``, what the run minimises.
        n_steps: Steps of the run, 1 or more.
        solver: One of the table.
        n_terms: Steps of the conjugate gradient at most, or terms of the series; 1 or more.
        scale: The factor alpha of the Neumann series.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If a number is not positive, the solver is unknown or (when called) a hyperparameter is not a float.

    Example:
        The training loss :math:`(\theta - \lambda)^2 / 2` has its optimum at :math:`\theta = \lambda`.

        >>> start = lambda key, h, train: TrainState(jnp.int32(0), jnp.zeros(()), {}, ())
        >>> steps = lambda key, h, state, train, n: state._replace(params=jnp.asarray(h["goal"]))
        >>> unrolled = Unroll(start, steps, lambda h, state, validation: state.params ** 2 / 2)
        >>> train_loss = lambda params, h, state, train: (params - h["goal"]) ** 2 / 2
        >>> _, gradient = implicit(unrolled, train_loss, n_steps=1)(jax.random.key(0), {"goal": 3.0}, {}, {})
        >>> float(gradient["goal"])
        3.0

    References:
        Lorraine, Vicol and Duvenaud (2020), Optimizing millions of hyperparameters by implicit differentiation,
        AISTATS, equations 2 to 5. https://arxiv.org/abs/1911.02590
        Pedregosa (2016), Hyperparameter optimization with approximate gradient, ICML (conjugate gradient).
        https://arxiv.org/abs/1602.02355
    """
    _require_positive(n_steps=n_steps, n_terms=n_terms, scale=scale)
    if solver not in ("cg", "neumann"):
        raise ValueError(f"solver must be 'cg' or 'neumann'; got {solver!r}. Use 'cg' unless H is not definite.")

    def hypergradient(key, hyperparameters, train, validation):
        hyperparameters = _floats(hyperparameters)
        state = unroll.advance(key, hyperparameters, unroll.init(key, hyperparameters, train), train, n_steps)
        optimum, unravel = ravel_pytree(state.params)

        def stationarity(params, hyperparameters):
            of_params = jax.grad(lambda flat: training_loss(unravel(flat), hyperparameters, state, train))
            return of_params(params)

        def product(vector):
            return jax.jvp(lambda flat: stationarity(flat, hyperparameters), (optimum,), (vector,))[1]

        def loss(params, hyperparameters):
            return unroll.loss(hyperparameters, state._replace(params=unravel(params)), validation)

        value, (of_params, direct) = jax.value_and_grad(loss, argnums=(0, 1))(optimum, hyperparameters)
        if solver == "cg":
            solved, _ = jax.scipy.sparse.linalg.cg(product, of_params, tol=1e-10, maxiter=n_terms)
        else:
            solved = _neumann(product, of_params, n_terms, scale)
        _, pull = jax.vjp(lambda hyperparameters: stationarity(optimum, hyperparameters), hyperparameters)
        (through,) = pull(solved)
        return value, jax.tree.map(lambda one, other: one - other, direct, through)

    return hypergradient


def evolution(
    unroll: Unroll, *, n_steps: int, scale: int | float, n_pairs: int, n_segments: int = 1, relative: bool = False
) -> Hypergradient:
    r"""Returns the hypergradient of a smoothed run, estimated from values alone by antithetic evolution strategies.

    .. math:: g = \frac{1}{2 n \sigma^2} \sum_{i=1}^n \epsilon_i \bigl(L(\lambda + \epsilon_i) -
              L(\lambda - \epsilon_i)\bigr), \qquad \epsilon_i \sim N(0, \sigma^2)

    It needs no derivative, and the smoothing takes the edges off losses whose exact derivative is chaotic. With
    ``n_segments`` above 1 it is persistent: the hyperparameters are perturbed anew in every segment of the run, the loss
    is the mean of the validation losses at the ends of the segments, and each of them is credited with the sum of all
    perturbations so far, so that no part of the derivative is truncated away.

    Args:
        unroll: The run.
        n_steps: Steps of the whole run, 1 or more.
        scale: Standard deviation :math:`\sigma` of the perturbations.
        n_pairs: Pairs of draws, each of two runs.
        n_segments: Parts of the run with a perturbation of their own; they divide ``n_steps``.
        relative: Whether ``scale`` is in units of each hyperparameter's own value; of 1 where that is 0.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``, the loss at the end of the run of this key with
        the hyperparameters themselves, as of the other modes.

    Raises:
        ValueError: If a number is not positive, the segments do not divide the steps or (when called) a hyperparameter
            is not a float.

    Example:
        Antithetic pairs estimate the derivative of a linear function with no error but that of the draws' variance.

        >>> start = lambda key, h, train: TrainState(jnp.int32(0), jnp.zeros(()), {}, ())
        >>> steps = lambda key, h, state, train, n: state._replace(params=state.params + n * h["rate"])
        >>> unrolled = Unroll(start, steps, lambda h, state, validation: state.params)
        >>> estimate = evolution(unrolled, n_steps=3, scale=0.1, n_pairs=1000)
        >>> _, gradient = estimate(jax.random.key(0), {"rate": 2.0}, {}, {})
        >>> bool(abs(gradient["rate"] - 3) < 0.5)
        True

    References:
        Salimans, Ho, Chen, Sidor and Sutskever (2017), Evolution strategies as a scalable alternative to reinforcement
        learning, equation 2. https://arxiv.org/abs/1703.03864
        Vicol, Metz and Sohl-Dickstein (2021), Unbiased gradient estimation in unrolled computation graphs with
        persistent evolution strategies, ICML, algorithm 2. https://arxiv.org/abs/2112.13835
    """
    _require_positive(n_steps=n_steps, scale=scale, n_pairs=n_pairs, n_segments=n_segments)
    if n_steps % n_segments:
        raise ValueError(f"n_segments must divide n_steps = {n_steps}; got {n_segments}. Choose one of its divisors.")
    part = n_steps // n_segments

    def losses(key, flat, unravel, noise, train, validation):
        """Returns the loss at the end of each segment, with a perturbation of the hyperparameters in each."""
        state, made = unroll.init(jax.random.clone(key), unravel(flat + noise[0]), train), []
        for perturbation in noise:
            hyperparameters = unravel(flat + perturbation)
            state = unroll.advance(jax.random.clone(key), hyperparameters, state, train, part)
            made.append(unroll.loss(hyperparameters, state, validation))
        return jnp.stack(made)

    def hypergradient(key, hyperparameters, train, validation):
        flat, unravel = ravel_pytree(_floats(hyperparameters))
        unit = scale * (jnp.where(flat == 0, 1.0, jnp.abs(flat)) if relative else jnp.ones_like(flat))
        noise_key = jax.random.fold_in(jax.random.clone(key), _NOISE)

        def pair(pair_key):
            draws = jax.random.normal(pair_key, (n_segments, *flat.shape), flat.dtype)
            noise = unit[None] * draws
            ups, downs = (losses(key, flat, unravel, sign * noise, train, validation) for sign in (1, -1))
            credited = jnp.cumsum(draws, axis=0) / unit[None]
            return jnp.mean((ups - downs)[:, None] / 2 * credited, axis=0)

        gradient = jnp.mean(jax.lax.map(pair, jax.random.split(noise_key, n_pairs)), axis=0)
        unperturbed = jnp.zeros((n_segments, *flat.shape), flat.dtype)
        plain = losses(key, flat, unravel, unperturbed, train, validation)
        return plain[-1], unravel(gradient)

    return hypergradient


def _segments(unroll: Unroll, key, hyperparameters, state, train, n_steps: int, segment: int | None) -> TrainState:
    """Returns the state ``n_steps`` later; going back, the steps of each segment are made again from its start."""
    length = min(segment or math.isqrt(n_steps), n_steps)

    def advance(state: TrainState, n: int) -> TrainState:
        return jax.checkpoint(lambda state: unroll.advance(key, hyperparameters, state, train, n))(state)

    state, _ = jax.lax.scan(lambda state, _: (advance(state, length), None), state, length=n_steps // length)
    rest = n_steps % length
    return advance(state, rest) if rest else state


def _neumann(product: Callable, vector: Array, n_terms: int, scale: int | float) -> Array:
    """Returns the truncated series for the inverse times a vector."""

    def term(carry, _):
        total, power = carry
        return (total + power, power - scale * product(power)), None

    (total, _), _ = jax.lax.scan(term, (jnp.zeros_like(vector), vector), length=n_terms)
    return scale * total


def _floats(hyperparameters: Any) -> Any:
    """Returns the hyperparameters with arrays as leaves; raises for one that has no derivative."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(hyperparameters):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"hyperparameters{jax.tree_util.keystr(path)} must be a float to be differentiated; got {leaf!r}. "
                "Write it with a decimal point, or make it static."
            )
    return jax.tree.map(jnp.asarray, hyperparameters)


def _require_positive(**numbers: int | float) -> None:
    """Raises for the first number that is not positive."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive; got {number}. Pass 1 or more steps, terms or draws.")

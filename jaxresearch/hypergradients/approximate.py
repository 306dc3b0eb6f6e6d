"""Hypergradients without differentiating the steps of a run: at an optimum, or from loss values alone."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from jaxresearch.gradients import Batch
from jaxresearch.hypergradients.unroll import Hypergradient, Unroll, _floats, _require_positive, _without_looks

TrainingLoss = Callable[[PyTree[Array], Any, Any, Batch], Float[Array, ""]]


_NOISE = 2**32 - 1  # the random stream of perturbations; the streams of a run count from 0


def implicit(
    unroll: Unroll,
    training_loss: TrainingLoss,
    *,
    n_steps: int,
    solver: Literal["cg", "neumann", "direct"] = "cg",
    n_terms: int = 100,
    scale: int | float = 1.0,
    damping: int | float = 0.0,
) -> Hypergradient:
    r"""Returns the hypergradient at an optimum of the training loss, by the implicit function theorem.

    .. math:: \frac{dL}{d\lambda} = \partial_\lambda L - \partial_\theta L \, H^{-1} \, \partial_\theta \partial_\lambda
              L_\text{train}, \qquad H = \partial^2_\theta L_\text{train} + \mu I

    It is independent of the path to the optimum, and accurate only near it. Hyperparameters that do not
    appear in the training loss, such as a learning rate, have zero gradient.

    ==========  =================================================================  ====================================
    solver      computation of :math:`H^{-1} v`                                    requires
    ==========  =================================================================  ====================================
    "cg"        conjugate gradient, to a residual of 1e-10 or ``n_terms`` steps    H positive definite
    "neumann"   :math:`\alpha \sum_{k < n} (I - \alpha H)^k v`                     eigenvalues of H in (0, 2/alpha)
    "direct"    the whole of H, by a Cholesky decomposition                        H positive definite; its memory
    ==========  =================================================================  ====================================

    Args:
        unroll: The run to the optimum.
        training_loss: ``(params, hyperparameters, state, train) -> loss``, which the run minimises.
        n_steps: Steps of the run, 1 or more.
        solver: A solver from the table.
        n_terms: Maximum number of conjugate gradient steps, or number of terms of the series; 1 or more.
        scale: The factor alpha of the Neumann series.
        damping: The number :math:`\mu`, 0 or more, added to the eigenvalues of the second derivative: makes H definite where the
            training loss has flat directions.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If a number is not positive, the solver is unknown or (when called) a hyperparameter is not a float.

    Example:
        The training loss :math:`(\theta - \lambda)^2 / 2` has its optimum at :math:`\theta = \lambda`.

        >>> from jaxresearch.training import TrainState
        >>> start = lambda key, h, train: TrainState(jnp.zeros(()), {}, ())
        >>> steps = lambda key, h, state, train, step, n: state._replace(params=jnp.asarray(h["goal"]))
        >>> unrolled = Unroll(start, steps, lambda key, h, state, validation: state.params ** 2 / 2)
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
    _without_looks(unroll, "implicit")
    _require_positive(n_steps=n_steps, n_terms=n_terms, scale=scale)
    if solver not in ("cg", "neumann", "direct"):
        raise ValueError(
            f"solver must be 'cg', 'neumann' or 'direct', got {solver!r}. Use 'cg' unless H is not definite."
        )
    if not damping >= 0:
        raise ValueError(
            f"damping must be 0 or more, got {damping}. Pass 0 where the training loss is strictly convex."
        )

    def hypergradient(key, hyperparameters, train, validation):
        hyperparameters = _floats(hyperparameters)
        state = unroll.advance(key, hyperparameters, unroll.init(key, hyperparameters, train), train, 0, n_steps)
        optimum, unravel = ravel_pytree(state.params)

        def stationarity(params, hyperparameters):
            of_params = jax.grad(lambda flat: training_loss(unravel(flat), hyperparameters, state, train))
            return of_params(params)

        def product(vector):
            of_vector = jax.jvp(lambda flat: stationarity(flat, hyperparameters), (optimum,), (vector,))[1]
            return of_vector + damping * vector

        def loss(params, hyperparameters):
            return unroll.loss(key, hyperparameters, state._replace(params=unravel(params)), validation)

        value, (of_params, direct) = jax.value_and_grad(loss, argnums=(0, 1))(optimum, hyperparameters)
        if solver == "cg":
            solved, _ = jax.scipy.sparse.linalg.cg(product, of_params, tol=1e-10, maxiter=n_terms)
        elif solver == "direct":
            factor = jax.scipy.linalg.cho_factor(jax.vmap(product)(jnp.eye(len(optimum))))
            solved = jax.scipy.linalg.cho_solve(factor, of_params)
        else:
            solved = _neumann(product, of_params, n_terms, scale)
        _, pull = jax.vjp(lambda hyperparameters: stationarity(optimum, hyperparameters), hyperparameters)
        (through,) = pull(solved)
        return value, jax.tree.map(lambda one, other: one - other, direct, through)

    return hypergradient


def tracin(
    unroll: Unroll,
    training_loss: TrainingLoss,
    *,
    n_steps: int,
    n_checkpoints: int,
    rate: float | Float[Array, ""] | Callable[[Array], Any],
) -> Hypergradient:
    r"""Returns the first-order estimate of the hypergradient: the effect of each step on the loss right after it.

    .. math:: g = -\sum_{k=1}^K s \, \eta_k \, \partial_\theta L(\theta_k) \, \partial_\theta \partial_\lambda
              L_\text{train}(\theta_k), \qquad s = T / K

    It ignores how a change at one step alters the steps after it, and stands for the :math:`s` steps before a checkpoint by the
    state at the checkpoint.

    Args:
        unroll: The run.
        training_loss: ``(params, hyperparameters, state, train) -> loss``, which the run minimises.
        n_steps: Steps of the run, 1 or more.
        n_checkpoints: The number :math:`K` of states, at equal distances; must divide ``n_steps``.
        rate: The step size :math:`\eta`, or a function of the number of steps taken. For momentum m, divide it by 1 - m.

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``.

    Raises:
        ValueError: If a number is not positive, the checkpoints do not divide the steps or (when called) a hyperparameter is
            not a float.

    Example:
        >>> from jaxresearch.training import TrainState
        >>> start = lambda key, h, train: TrainState(jnp.zeros(()), {}, ())
        >>> steps = lambda key, h, state, train, step, n: state._replace(params=state.params + n * h["goal"])
        >>> unrolled = Unroll(start, steps, lambda key, h, state, validation: state.params ** 2 / 2)
        >>> train_loss = lambda params, h, state, train: -h["goal"] * params
        >>> estimate = tracin(unrolled, train_loss, n_steps=2, n_checkpoints=2, rate=1.0)
        >>> _, gradient = estimate(jax.random.key(0), {"goal": 3.0}, {}, {})
        >>> float(gradient["goal"])  # 3 + 6; exactly, it is (3 + 3) * 2
        9.0

    References:
        Pruthi, Liu, Kale and Sundararajan (2020), Estimating training data influence by tracing gradient descent, NeurIPS,
        section 3.2. https://arxiv.org/abs/2002.08484
    """
    _without_looks(unroll, "tracin")
    _require_positive(n_steps=n_steps, n_checkpoints=n_checkpoints)
    if n_steps % n_checkpoints:
        raise ValueError(
            f"n_checkpoints must divide n_steps = {n_steps}, got {n_checkpoints}. Choose one of its divisors."
        )
    apart = n_steps // n_checkpoints

    def hypergradient(key, hyperparameters, train, validation):
        hyperparameters = _floats(hyperparameters)

        def visit(carry, step):
            state, total = carry
            state = unroll.advance(key, hyperparameters, state, train, step, apart)

            def loss(params):
                return unroll.loss(key, hyperparameters, state._replace(params=params), validation)

            def stationarity(hyperparameters):
                return jax.grad(training_loss)(state.params, hyperparameters, state, train)

            value, of_params = jax.value_and_grad(loss)(state.params)
            (through,) = jax.vjp(stationarity, hyperparameters)[1](of_params)
            size = apart * (rate(step + apart) if callable(rate) else rate)
            return (state, jax.tree.map(lambda one, other: one - size * other, total, through)), value

        start = unroll.init(key, hyperparameters, train), jax.tree.map(jnp.zeros_like, hyperparameters)
        (_, gradient), values = jax.lax.scan(visit, start, apart * jnp.arange(n_checkpoints))
        return values[-1], gradient

    return hypergradient


def evolution(
    unroll: Unroll, *, n_steps: int, scale: int | float, n_pairs: int, n_segments: int = 1, relative: bool = False
) -> Hypergradient:
    r"""Returns the hypergradient of a smoothed run, estimated from loss values alone by antithetic evolution strategies.

    .. math:: g = \frac{1}{2 n \sigma^2} \sum_{i=1}^n \epsilon_i \bigl(L(\lambda + \epsilon_i) -
              L(\lambda - \epsilon_i)\bigr), \qquad \epsilon_i \sim N(0, \sigma^2)

    It needs no derivatives, and smooths losses whose exact derivative is chaotic. With ``n_segments`` above 1 it is
    persistent: each segment of the run has a new perturbation of the hyperparameters, the loss is the mean of the
    validation losses at the ends of the segments, and each of these is multiplied by the sum of all perturbations so far,
    which avoids truncation bias.

    Args:
        unroll: The run.
        n_steps: Steps of the run, 1 or more.
        scale: Standard deviation :math:`\sigma` of the perturbations.
        n_pairs: Number of antithetic pairs; each takes two runs.
        n_segments: Number of segments with their own perturbation; must divide ``n_steps``.
        relative: Whether ``scale`` is relative to the value of each hyperparameter (absolute for a value of 0).

    Returns:
        ``(key, hyperparameters, train, validation) -> (loss, gradient)``, with the final loss at the unperturbed
        hyperparameters, as for the other methods.

    Raises:
        ValueError: If a number is not positive, the segments do not divide the steps or (when called) a hyperparameter
            is not a float.

    Example:
        For a linear function, the only error is the variance of the draws.

        >>> start = lambda key, h, train: jnp.zeros(())
        >>> steps = lambda key, h, state, train, step, n: state + n * h["rate"]
        >>> unrolled = Unroll(start, steps, lambda key, h, state, validation: state)
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
    _without_looks(unroll, "evolution")
    _require_positive(n_steps=n_steps, scale=scale, n_pairs=n_pairs, n_segments=n_segments)
    if n_steps % n_segments:
        raise ValueError(f"n_segments must divide n_steps = {n_steps}; got {n_segments}. Choose one of its divisors.")
    part = n_steps // n_segments

    def losses(key, flat, unravel, noise, train, validation):
        """Returns the loss at the end of each segment, with a perturbation of the hyperparameters in each."""
        state, values = unroll.init(jax.random.clone(key), unravel(flat + noise[0]), train), []
        for i, perturbation in enumerate(noise):
            hyperparameters = unravel(flat + perturbation)
            state = unroll.advance(jax.random.clone(key), hyperparameters, state, train, i * part, part)
            values.append(unroll.loss(jax.random.clone(key), hyperparameters, state, validation))
        return jnp.stack(values)

    def hypergradient(key, hyperparameters, train, validation):
        flat, unravel = ravel_pytree(_floats(hyperparameters))
        unit = scale * (jnp.where(flat == 0, 1.0, jnp.abs(flat)) if relative else jnp.ones_like(flat))
        noise_key = jax.random.fold_in(jax.random.clone(key), _NOISE)

        def pair(pair_key):
            draws = jax.random.normal(pair_key, (n_segments, *flat.shape), flat.dtype)
            noise = unit[None] * draws
            ups, downs = (losses(key, flat, unravel, sign * noise, train, validation) for sign in (1, -1))
            total = jnp.cumsum(draws, axis=0) / unit[None]
            return jnp.mean((ups - downs)[:, None] / 2 * total, axis=0)

        gradient = jnp.mean(jax.lax.map(pair, jax.random.split(noise_key, n_pairs)), axis=0)
        unperturbed = jnp.zeros((n_segments, *flat.shape), flat.dtype)
        plain = losses(key, flat, unravel, unperturbed, train, validation)
        return plain[-1], unravel(gradient)

    return hypergradient


def _neumann(product: Callable, vector: Array, n_terms: int, scale: int | float) -> Array:
    """Returns the inverse times a vector, by the truncated Neumann series."""

    def term(carry, _):
        total, power = carry
        return (total + power, power - scale * product(power)), None

    (total, _), _ = jax.lax.scan(term, (jnp.zeros_like(vector), vector), length=n_terms)
    return scale * total

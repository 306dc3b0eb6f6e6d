"""Survival: times to an event such as death or recurrence, where the last visit without one censors the time.

Targets are ``(n, 2)``: time, and 1 for an event or 0 without one. Risks are logarithms of the hazard relative to a baseline,
as `jaxresearch.losses.cox_loss` trains them; `jaxresearch.metrics.concordance` tells how well they rank patients.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxresearch import data
from jaxresearch.losses import cox_loss

Values = Array | np.ndarray


def load(source: str, *, target: str | None = None, **reading: Any) -> data.Dataset:
    """Returns a table of times and events, as the ``collect`` of an experiment.

    Args:
        source: ``rotterdam``, or a table.
        target: The columns of the time and of the event, such as ``days,died``; ``time,event`` by default. An event is 1, and a
            last visit without one is 0.
        **reading: As for `jaxresearch.data.load`.

    Returns:
        The parts, with targets ``(n, 2)``, and the card.

    Raises:
        ValueError: If ``target`` is not two columns, or as `jaxresearch.data.load` with ``event``.

    Example:
        >>> patients = load("rotterdam")
        >>> patients.card.feature_names, patients.train["targets"][0].tolist()
        (('age', 'meno', 'size', 'grade', 'nodes', 'pgr', 'er', 'hormon'), [1799.0, 0.0])
    """
    if source in data.BUNDLED and target is None:
        dataset = data.load(source, **reading)
        if dataset.train["targets"].shape[1:] != (2,):
            raise ValueError(f"data must hold times and events, got {source}. Use rotterdam, or a table.")
        return dataset
    columns = (target or "time,event").split(",")
    if len(columns) != 2 or not all(columns):
        raise ValueError(
            f"target must be the columns of the time and of the event, such as days,died, got {target!r}. Write: "
            "--target days,died"
        )
    reading.pop("task", None)
    return data.load(source, target=columns[0], event=columns[1], **reading)


def cox_regression(
    inputs: Float[Values, "n features"], targets: Float[Values, "n 2"], *, n_steps: int = 20
) -> Float[Array, "features 1"]:
    r"""Returns the coefficients of Cox's proportional hazards model, by Newton's method from zero.

    .. math:: \beta \leftarrow \beta - H^+ g, \quad h(t \mid x) = h_0(t) \, e^{\beta^T x}

    Ties are Efron's. Directions that the likelihood does not depend on, such as a constant added to all levels of a category,
    stay at zero; without an event, all do.

    Args:
        inputs: Standardised, or of order 1.
        targets: Time and event.
        n_steps: Steps of Newton's method, which usually needs five to ten.

    Returns:
        One coefficient per feature, the logarithm of a hazard ratio. Where the likelihood has no maximum, since a feature orders
        the events, they are finite but grow with ``n_steps``.

    Raises:
        ValueError: If ``n_steps`` is not positive.

    Example:
        >>> inputs, targets = jnp.array([[0.0], [1.0], [0.0], [1.0]]), jnp.array([[5.0, 1], [2.0, 1], [3.0, 1], [4.0, 1]])
        >>> round(float(cox_regression(inputs, targets)[0, 0]), 4)  # log((1 + 17 ** 0.5) / 2)
        0.9406

    References:
        Cox (1972), Regression models and life-tables, J. R. Stat. Soc. B 34(2), section 5.
        https://doi.org/10.1111/j.2517-6161.1972.tb00899.x
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more, got {n_steps}. Pass 20.")
    inputs, targets = jnp.asarray(inputs), jnp.asarray(targets)

    def loss(coefficients: Array) -> Array:
        return jnp.mean(cox_loss(inputs @ coefficients[:, None], targets))

    def newton(coefficients: Array, _: None) -> tuple[Array, None]:
        inverse = jnp.linalg.pinv(jax.hessian(loss)(coefficients), hermitian=True)
        return coefficients - inverse @ jax.grad(loss)(coefficients), None

    return jax.lax.scan(newton, jnp.zeros(inputs.shape[1], inputs.dtype), None, length=n_steps)[0][:, None]


def baseline_hazard(risks: Float[Values, "n 1"], targets: Float[Values, "n 2"], *, at: int | float) -> Float[Array, ""]:
    r"""Returns Breslow's estimate of the cumulative hazard of a patient of risk 0.

    .. math:: H_0(t) = \sum_{i: t_i \le t, \text{event}_i} 1 / \sum_{j: t_j \ge t_i} e^{r_j}

    The probability that a patient has no event until then is :math:`\exp(-H_0(t) e^r)`.

    Args:
        risks: Of the training examples.
        targets: Their times and events.
        at: The time, in the unit of the targets.

    Returns:
        A scalar, at least 0.

    Example:
        >>> float(baseline_hazard(jnp.zeros((2, 1)), jnp.array([[1.0, 1.0], [2.0, 1.0]]), at=1.5))
        0.5

    References:
        Breslow (1972), contribution to the discussion of Cox (1972), J. R. Stat. Soc. B 34(2).
        https://doi.org/10.1111/j.2517-6161.1972.tb00900.x
    """
    order = jnp.argsort(jnp.asarray(targets)[:, 0])
    risks, (times, events) = jnp.asarray(risks)[order, 0], jnp.asarray(targets)[order].T
    log_total = jax.lax.cumlogsumexp(risks, reverse=True)[jnp.searchsorted(times, times)]
    return jnp.sum(jnp.where((events > 0) & (times <= at), jnp.exp(-log_total), 0))


class Estimate(NamedTuple):
    """A fraction and its standard error; as text, with its 95 % interval."""

    value: Float[Array, ""]
    error: Float[Array, ""]

    def __str__(self) -> str:
        """Returns the fraction and its interval, to three digits."""
        low, high = (min(max(float(self.value + side * 1.96 * self.error), 0.0), 1.0) for side in (-1, 1))
        return f"{self.value:.3f} ({low:.3f} to {high:.3f})"


def kaplan_meier(targets: Float[Values, "n 2"], *, at: int | float) -> Estimate:
    r"""Returns the Kaplan-Meier estimate of the fraction without an event until a time, with Greenwood's standard error.

    .. math:: S(t) = \prod_{t_k \le t} (1 - d_k / n_k), \quad
        \sigma^2 = S^2 \sum_{t_k \le t} \frac{d_k}{n_k (n_k - d_k)}

    Args:
        targets: Time and event; :math:`n_k` patients are followed until :math:`t_k` or longer, :math:`d_k` have the event then.
        at: The time, in the unit of the targets.

    Returns:
        The fraction, 0 to 1, and its standard error, 0 where the fraction is 0.

    Example:
        >>> [round(float(number), 4) for number in kaplan_meier(jnp.array([[1.0, 1], [2.0, 0], [3.0, 1], [4.0, 0]]), at=3)]
        [0.375, 0.2864]

    References:
        Kaplan and Meier (1958), Nonparametric estimation from incomplete observations, J. Am. Stat. Assoc. 53(282),
        equations 2b and 2f. https://doi.org/10.1080/01621459.1958.10501452
    """
    times, events = jnp.asarray(targets)[jnp.argsort(jnp.asarray(targets)[:, 0])].T
    n = len(times)
    first = jnp.searchsorted(times, times)
    n_events = jax.ops.segment_sum(events, first, n)  # at the first patient of each time, 0 at the others
    n_events = jnp.where(times <= at, n_events, 0)
    n_followed = n - jnp.arange(n)
    survival = jnp.prod(1 - n_events / n_followed)
    n_left = jnp.where(n_followed > n_events, n_followed - n_events, 1)
    return Estimate(survival, survival * jnp.sqrt(jnp.sum(n_events / (n_followed * n_left))))


class Calibration(NamedTuple):
    """Predicted fractions without an event, and observed ones, of groups from the lowest prediction to the highest."""

    predicted: Float[Array, " groups"]
    observed: tuple[Estimate, ...]


def calibration(
    predicted: Float[Values, " n"], targets: Float[Values, "n 2"], *, at: int | float, n_groups: int = 5
) -> Calibration:
    """Returns how many patients were predicted and observed to have no event until a time, by groups of predictions.

    Args:
        predicted: Probability of no event until that time.
        targets: Time and event.
        at: The time, in the unit of the targets.
        n_groups: Groups of equal size, 1 or more, at most one per patient.

    Returns:
        The mean prediction of each group, and its Kaplan-Meier estimate.

    Raises:
        ValueError: If the number of groups is out of range.

    Example:
        >>> targets = jnp.array([[1.0, 1.0], [2.0, 1.0], [9.0, 0.0], [9.0, 1.0]])
        >>> found = calibration(jnp.array([0.2, 0.4, 0.8, 0.9]), targets, at=5, n_groups=2)
        >>> [round(float(mean), 2) for mean in found.predicted], [float(observed.value) for observed in found.observed]
        ([0.3, 0.85], [0.0, 1.0])
    """
    if not 1 <= n_groups <= len(predicted):
        raise ValueError(
            f"n_groups must be from 1 to the {len(predicted)} patients, got {n_groups}. Pass 5 for fifths."
        )
    predicted, targets = jnp.asarray(predicted), jnp.asarray(targets)
    groups = np.array_split(jnp.argsort(predicted), n_groups)
    means = jnp.stack([jnp.mean(predicted[rows]) for rows in groups])
    return Calibration(means, tuple(kaplan_meier(targets[rows], at=at) for rows in groups))

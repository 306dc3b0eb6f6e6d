r"""Growth curves: the scores of a pupil lie about a line, whose coefficients vary between pupils and between schools.

.. math:: y_{ti} = b_i^\top (1, t) + \varepsilon, \quad b_i \sim N(a_{k(i)}, L_p L_p^\top), \quad a_k \sim N(\mu, L_s L_s^\top)

The coefficients are integrated out, level by level: what the data say about a pupil's coefficients b, up to a constant, is
:math:`\exp(c^\top b - b^\top A b / 2)` with a precision A and a shift c. Integrated over pupils, the same holds for the
coefficients of their school, and integrated over schools for the mean.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

Params = dict[str, Any]
Inputs = dict[str, Any]


def growth_params(key: Key[Array, ""], *, schools: bool = True) -> Params:
    """Returns initial parameters of growth curves.

    Args:
        key: Draws the mean line.
        schools: Whether lines vary between schools, too.

    Returns:
        ``mean`` (intercept and slope); ``pupil`` and ``school``, the logarithms of the diagonal of a Cholesky factor and, between
        them, its other entry; ``log_noise``, the logarithm of the standard deviation of scores about a line.

    Example:
        >>> sorted(growth_params(jax.random.key(0), schools=False))
        ['log_noise', 'mean', 'pupil']
    """
    varying = {"pupil": jnp.array([-0.5, 0.0, -1.5])} | ({"school": jnp.array([-1.0, 0.0, -2.0])} if schools else {})
    return {"mean": 0.1 * jax.random.normal(key, (2,)), **varying, "log_noise": jnp.array(-0.5)}


def with_last_scores(inputs: Inputs, targets: Float[Array, "pupils 1"], years: Float[Array, " years"]) -> Inputs:
    """Returns the scores of pupils with the last one, which is the target, among them.

    Args:
        inputs: ``scores`` and ``known`` ``(pupils, years)``, and the ``year`` of the target.
        targets: The last scores.
        years: Of the scores.

    Returns:
        The same with the last scores.

    Example:
        >>> inputs = {"scores": jnp.zeros((1, 2)), "known": jnp.array([[1.0, 0.0]]), "year": jnp.ones(1)}
        >>> with_last_scores(inputs, jnp.array([[3.0]]), jnp.array([0.0, 1.0]))["scores"].tolist()
        [[0.0, 3.0]]
    """
    is_last = jnp.abs(years[None] - inputs["year"][:, None]) < 1e-3
    return {
        **inputs,
        "scores": jnp.where(is_last, targets, inputs["scores"]),
        "known": jnp.where(is_last, 1.0, inputs["known"]),
    }


def growth_likelihood(
    params: Params, inputs: Inputs, years: Float[Array, " years"], *, n_schools: int
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""Returns the log likelihood of all known scores, and what they say about each school.

    .. math:: \log \int N(y; Z b, \sigma^2 I) \, N(b; 0, L L^\top) \, db = \log N(y; 0, \sigma^2 I) - \tfrac12 \log |M|
              + \tfrac12 c^\top L M^{-1} L^\top c, \quad M = I + L^\top A L

    for each pupil, and in the same way for each school.

    Args:
        params: As from `growth_params`.
        inputs: ``scores`` and ``known`` (1 where there is a score, else 0) ``(pupils, years)``, and ``schoolid``, integers.
        years: Of the scores.
        n_schools: Number of schools.

    Returns:
        The log likelihood in nats; ``precision`` and ``shift`` of each school's line, and the precision ``all`` of the mean line,
        whose inverse is its squared standard error.

    Example:
        >>> params = growth_params(jax.random.key(0))
        >>> inputs = {"scores": jnp.ones((3, 2)), "known": jnp.ones((3, 2)), "schoolid": jnp.array([0, 1, 1])}
        >>> value, schools = growth_likelihood(params, inputs, jnp.array([0.0, 1.0]), n_schools=2)
        >>> value.shape, schools["precision"].shape
        ((), (2, 2, 2))

    References:
        Raudenbush and Bryk (2002), Hierarchical Linear Models, 2nd edition, Sage, chapter 8: the three-level model. Woodbury
        (1950), Inverting modified matrices, for the integral.
    """
    of_pupils = _integrated(_root(params["pupil"]), *_of_scores(params, inputs, years))
    of_schools = [jax.ops.segment_sum(entry, inputs["schoolid"], n_schools) for entry in of_pupils]
    precision, shift, log_density = (jnp.sum(e, axis=0) for e in _integrated(_school_root(params), *of_schools))
    mean = params["mean"]
    log_likelihood = log_density + shift @ mean - mean @ precision @ mean / 2
    return log_likelihood, {"precision": of_schools[0], "shift": of_schools[1], "all": precision}


def growth_forecast(
    params: Params, schools: dict[str, Array], inputs: Inputs, years: Float[Array, " years"]
) -> tuple[Array, Array, Array, Array]:
    """Returns the prediction of a score from the earlier ones, and the growth of each pupil.

    Args:
        params: As from `growth_params`.
        schools: As from `growth_likelihood`; a school without data has the mean line, uncertain by as much as schools vary.
        inputs: ``scores``, ``known``, ``schoolid``, and the ``year`` to predict.
        years: Of the scores.

    Returns:
        Of each pupil, the posterior mean and standard deviation of the score, noise included, and of the pupil's growth in a
        year minus the mean growth. The parameters are taken as known.

    Example:
        >>> params = growth_params(jax.random.key(0), schools=False)
        >>> schools = {"precision": jnp.zeros((1, 2, 2)), "shift": jnp.zeros((1, 2))}
        >>> none = {"scores": jnp.zeros((1, 2)), "known": jnp.zeros((1, 2)), "schoolid": jnp.zeros(1, int), "year": jnp.ones(1)}
        >>> score, _, growth, _ = growth_forecast(params, schools, none, jnp.array([0.0, 1.0]))
        >>> float(score[0]) == float(params["mean"].sum()), float(growth[0])
        (True, 0.0)
    """
    mean, between, variance = params["mean"], _school_root(params), jnp.exp(2 * params["log_noise"])
    within = _root(params["pupil"])

    def line_of_school(precision, shift):
        covariance, _ = _posterior(between, precision, shift)
        return mean + covariance @ (shift - precision @ mean), covariance

    def of_pupil(line, spread, precision, shift, year):
        prior = jnp.linalg.cholesky(spread + within @ within.T)
        residual = shift - precision @ line
        covariance, _ = _posterior(prior, precision, residual)
        own, at = line + covariance @ residual, jnp.stack([jnp.ones_like(year), year])
        return own @ at, jnp.sqrt(at @ covariance @ at + variance), own[1] - mean[1], jnp.sqrt(covariance[1, 1])

    lines, spreads = jax.vmap(line_of_school)(schools["precision"], schools["shift"])
    precision, shift, _ = _of_scores(params, inputs, years)
    school = inputs["schoolid"]
    return jax.vmap(of_pupil)(
        lines[school], spreads[school], precision, shift, jnp.asarray(inputs["year"], shift.dtype)
    )


def extrapolations(
    inputs: Inputs, years: Float[Array, " years"], gain: Float[ArrayLike, ""]
) -> tuple[Array, Array, Array]:
    """Returns the plainest predictions of a score from the earlier ones of the pupil.

    Args:
        inputs: ``scores``, ``known``, and the ``year`` to predict; at least one score is known.
        years: Of the scores.
        gain: The mean gain in a year, for the second prediction, and for the third if a single score is known.

    Returns:
        The last known score; the last known score plus the gain of the years between; the pupil's own line of least squares.

    Example:
        >>> inputs = {"scores": jnp.array([[1.0, 3.0, 0.0]]), "known": jnp.array([[1.0, 1.0, 0.0]]), "year": jnp.array([2.0])}
        >>> [float(one[0]) for one in extrapolations(inputs, jnp.arange(3.0), jnp.array(0.5))]
        [3.0, 3.5, 5.0]
    """
    known, year = jnp.asarray(inputs["known"], years.dtype), jnp.asarray(inputs["year"], years.dtype)
    scores, n = inputs["scores"], jnp.sum(known, axis=1)
    last = years.shape[0] - 1 - jnp.argmax(known[:, ::-1], axis=1)
    last_score = jnp.take_along_axis(scores, last[:, None], axis=1)[:, 0]
    centre, mean = known @ years / n, jnp.sum(known * scores, axis=1) / n
    distance = known * (years[None] - centre[:, None])
    spread = jnp.sum(distance**2, axis=1)
    slope = jnp.where(n > 1, jnp.sum(distance * scores, axis=1) / jnp.where(n > 1, spread, 1.0), gain)
    return last_score, last_score + gain * (year - years[last]), mean + slope * (year - centre)


def _root(raw: Array) -> Float[Array, "2 2"]:
    """Returns the Cholesky factor of the covariance of intercepts and slopes."""
    return jnp.array([[jnp.exp(raw[0]), 0.0], [raw[1], jnp.exp(raw[2])]])


def _school_root(params: Params) -> Float[Array, "2 2"]:
    """Returns the Cholesky factor of lines between schools; 0 if they do not vary."""
    return _root(params["school"]) if "school" in params else jnp.zeros((2, 2))


def _of_scores(params: Params, inputs: Inputs, years: Array) -> tuple[Array, Array, Array]:
    """Returns the precision and the shift of each pupil's line, and the log density of the scores about a line of zeros."""
    variance = jnp.exp(2 * params["log_noise"])
    known = jnp.asarray(inputs["known"], variance.dtype)
    scores, design = known * inputs["scores"], jnp.stack([jnp.ones_like(years), years], axis=1)
    precision = jnp.einsum("nt,ti,tj->nij", known, design, design) / variance
    log_density = -jnp.sum(scores**2 / variance + known * jnp.log(2 * jnp.pi * variance), axis=1) / 2
    return precision, scores @ design / variance, log_density


def _posterior(root: Array, precision: Array, shift: Array) -> tuple[Array, Array]:
    """Returns the covariance of coefficients whose prior is N(0, root root'), given data, and the log of the evidence."""
    inner = jnp.eye(2) + root.T @ precision @ root
    covariance = root @ jnp.linalg.solve(inner, root.T)
    return covariance, (shift @ covariance @ shift - jnp.linalg.slogdet(inner)[1]) / 2


def _integrated(root: Array, precision: Array, shift: Array, log_density: Array) -> tuple[Array, Array, Array]:
    """Returns precisions, shifts and log densities about the coefficients one level up, for each unit of this level."""

    def one(precision, shift):
        covariance, evidence = _posterior(root, precision, shift)
        return precision - precision @ covariance @ precision, shift - precision @ covariance @ shift, evidence

    up, moved, evidence = jax.vmap(one)(precision, shift)
    return up, moved, log_density + evidence

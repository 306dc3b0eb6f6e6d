"""The epsilon of a mechanism, and the mechanism of an epsilon, by the dp-accounting package."""

import dataclasses
import functools
import logging
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import scipy.optimize

from jaxresearch.privacy.mechanism import Clipping, Mechanism, Relation, Unit

LARGEST_EPSILON = 20.0  # that may be asked for: e^20 is 485 million, so beyond it nothing is promised
_LARGEST_BY_LOSSES = 100.0
_TOLERANCE = 1e-4  # of the logarithm of the noise multiplier
_FINE = 1e-4  # width of the intervals of privacy loss; wider ones find the noise, these confirm it
_SMALL = 0.1  # an epsilon that Rényi divergences of the orders in use may not reach with any noise


class Epsilon(NamedTuple):
    """Two upper bounds of epsilon: by privacy loss distributions, which is the tighter one, and by Rényi divergences."""

    pld: float
    rdp: float


def epsilon(mechanism: Mechanism, *, delta: int | float | None = None, n_runs: int = 1) -> Epsilon:
    r"""Returns the epsilon of the guarantee: for neighbouring data sets, :math:`P(S) \le e^\epsilon P'(S) + \delta`.

    The analysis is that of batches without a limit. Which other examples a step draws does not depend on the one in which two
    data sets differ, and unless the others fill all places, the step is the analysed one. Since the divergence
    :math:`\max_S P(S) - e^\epsilon P'(S)` is convex in :math:`(P, P')` and at most 1, the probability :math:`\beta` that they
    fill the places of any batch adds at most :math:`\beta` to it: epsilon is computed for :math:`\delta - \beta`.

    Args:
        mechanism: The whole mechanism.
        delta: Overrides that of the mechanism, whose batches keep their places.
        n_runs: Number of runs on the same data, all of which are published: seeds, or settings of a sweep. Each must have its own
            key: runs with the same noise would cancel it.

    Returns:
        Upper bounds of epsilon, infinite without noise. Above 100, both are that by Rényi divergences.
        They hold for exact real numbers: see the page on privacy.

    Raises:
        ValueError: If ``n_runs`` or ``delta`` is out of range, or dp-accounting is not installed.

    Example:
        >>> mechanism = Mechanism(noise_multiplier=1.3, clip=1.0, n_examples=60_000, batch_size=256, n_steps=3_515, delta=1e-5)
        >>> [round(value, 3) for value in epsilon(mechanism)]
        [0.864, 0.954]

    References:
        Koskela, Jälkö and Honkela (2020), Computing tight differential privacy guarantees using FFT, AISTATS.
        https://arxiv.org/abs/1906.03049

        Mironov, Talwar and Zhang (2019), Rényi differential privacy of the sampled Gaussian mechanism, section 3.3.
        https://arxiv.org/abs/1908.10530
    """
    return joint_epsilon({mechanism: n_runs}, delta=mechanism.delta if delta is None else delta)


def joint_epsilon(runs: Mapping[Mechanism, int], *, delta: int | float) -> Epsilon:
    """Returns the epsilon of runs with several mechanisms on the same data, all of which are published.

    The accountant composes the steps of all runs, which is tighter than a sum of epsilons, and needs no sum of deltas.

    Args:
        runs: Number of runs of each mechanism, fixed in advance. An example may be in the data of some runs only.
        delta: Of all runs together. The deltas of the mechanisms only set the places of their batches.

    Returns:
        As `epsilon`.

    Raises:
        ValueError: If there is no mechanism, their relations differ, or as `epsilon`.

    Example:
        >>> short = Mechanism(noise_multiplier=1.3, clip=1.0, n_examples=60_000, batch_size=256, n_steps=703, delta=1e-5)
        >>> round(joint_epsilon({short: 2, dataclasses.replace(short, n_steps=2_109): 1}, delta=1e-5).pld, 3)
        0.864
    """
    if len({mechanism.relation for mechanism in runs}) != 1:
        raise ValueError(
            f"runs must have mechanisms of one relation, got {sorted({one.relation for one in runs})}. Account for each alone."
        )
    if (n_runs := min(runs.values())) < 1:
        raise ValueError(f"n_runs must be 1 or more, got {n_runs}. Pass the number of seeds times settings.")
    for mechanism in runs:
        dataclasses.replace(mechanism, delta=delta)  # checks it
    public = tuple((dataclasses.replace(one, unit=None, secret=None), n) for one, n in runs.items())
    return _epsilon(public, float(delta))


@functools.cache
def _epsilon(runs: tuple[tuple[Mechanism, int], ...], delta: float) -> Epsilon:
    """Returns both bounds."""
    rdp = _bound(runs, None, delta)
    # Privacy losses of little noise spread over so many intervals that they take minutes.
    return Epsilon(rdp if rdp > _LARGEST_BY_LOSSES else _bound(runs, _FINE, delta), rdp)


def _bound(runs: tuple[tuple[Mechanism, int], ...], width: float | None, delta: float) -> float:
    """Returns the epsilon of all runs by privacy losses in intervals of a width; by Rényi divergences for None."""
    accounting, left = _accounting(), delta - sum(mechanism.overflow * n for mechanism, n in runs)
    if left <= 0 or any(mechanism.noise_multiplier == 0 for mechanism, _ in runs):
        return math.inf
    relations = accounting.NeighboringRelation
    relation = relations.REPLACE_SPECIAL if runs[0][0].relation == "zero-out" else relations.ADD_OR_REMOVE_ONE
    if width is None:
        spent = accounting.rdp.RdpAccountant(neighboring_relation=relation)
    else:
        spent = accounting.pld.PLDAccountant(relation, value_discretization_interval=width)
    for mechanism, n in runs:
        event = accounting.GaussianDpEvent(mechanism.noise_multiplier)
        if mechanism.rate < 1:
            event = accounting.PoissonSampledDpEvent(mechanism.rate, event)
        spent.compose(accounting.SelfComposedDpEvent(event, mechanism.n_steps * n))
    return float(spent.get_epsilon(left))


def for_epsilon(
    *,
    epsilon: int | float,
    delta: int | float,
    clip: int | float,
    n_examples: int,
    batch_size: int,
    n_steps: int,
    relation: Relation = "zero-out",
    clipping: Clipping = "flat",
    unit: Unit | None = None,
    secret: tuple[int, int] | None = None,
) -> Mechanism:
    """Returns the mechanism with the least noise whose epsilon, by privacy loss distributions, is at most the given one.

    Args:
        epsilon: Of one run, above 0 and at most `LARGEST_EPSILON`, 20.
        delta: As in `Mechanism`.
        clip: As in `Mechanism`.
        n_examples: As in `Mechanism`.
        batch_size: As in `Mechanism`.
        n_steps: As in `Mechanism`.
        relation: As in `Mechanism`.
        clipping: As in `Mechanism`.
        unit: As in `Mechanism`.
        secret: As in `Mechanism`.

    Returns:
        The mechanism; its noise multiplier exceeds the least one by less than 1 %.

    Raises:
        ValueError: If an argument is out of range, or dp-accounting is not installed.

    Example:
        >>> numbers = {"delta": 1e-5, "clip": 1.0, "n_examples": 60_000, "batch_size": 256, "n_steps": 3_515}
        >>> round(for_epsilon(epsilon=0.8645, **numbers).noise_multiplier, 2)
        1.3
    """
    if not 0 < epsilon <= LARGEST_EPSILON:
        raise ValueError(
            f"epsilon must be above 0 and at most {LARGEST_EPSILON:g}, got {epsilon}. Pass 3; e^epsilon bounds how much more "
            "likely an outcome can be."
        )
    unknown = Mechanism(
        noise_multiplier=1.0,
        clip=clip,
        n_examples=n_examples,
        batch_size=batch_size,
        n_steps=n_steps,
        delta=delta,
        relation=relation,
        clipping=clipping,
        unit=unit,
    )
    noise = _calibrated(dataclasses.replace(unknown, clip=1.0, clipping="flat", unit=None), float(epsilon))
    return dataclasses.replace(unknown, noise_multiplier=noise, secret=secret)


@functools.cache
def _calibrated(mechanism: Mechanism, target: float) -> float:
    """Returns the least noise multiplier for a target; a fast accountant brackets the root for the tight one."""

    def excess(log_noise: float, width: float | None) -> float:
        noisy = dataclasses.replace(mechanism, noise_multiplier=math.exp(log_noise))
        found = _bound(((noisy, 1),), width, mechanism.delta)
        return math.log(max(found, 1e-12) / target) if found < math.inf else 1e3

    coarse = 1e-3 if target >= 1 else _FINE
    fast = None if target >= _SMALL else coarse
    low = high = 0.0
    while excess(high, fast) > 0:
        high += math.log(2)
    while excess(low, fast) <= 0:
        low -= math.log(2)
    high = float(scipy.optimize.root_scalar(excess, (fast,), bracket=(low, high), xtol=1e-2).root) + 2e-2
    while excess(high, coarse) > 0:  # many steps add up the width of the intervals
        high += 0.2
    low = high - 0.2
    while excess(low, coarse) <= 0:
        high, low = low, low - 0.2
    root = float(scipy.optimize.root_scalar(excess, (coarse,), bracket=(low, high), xtol=_TOLERANCE).root) + _TOLERANCE
    while excess(root, _FINE) > 0:
        root += _TOLERANCE
    return math.exp(root)


def statement(mechanism: Mechanism, *, n_runs: int = 1) -> dict[str, Any]:
    """Returns the guarantee as a record: epsilon with all that it depends on.

    Args:
        mechanism: The whole mechanism.
        n_runs: Number of runs on the same data, for the epsilon of all of them together.

    Returns:
        Numbers and strings by name.

    Raises:
        ValueError: As `epsilon`.

    Example:
        >>> mechanism = Mechanism(noise_multiplier=1.3, clip=1.0, n_examples=60_000, batch_size=256, n_steps=3_515, delta=1e-5)
        >>> statement(mechanism)["sampling"]
        'Poisson, rate 0.00426667, 391 places for 256 expected examples'
    """
    places, unit = mechanism.sampling.capacity, mechanism.unit
    is_whole, counted = mechanism.rate == 1, "examples" if unit is None else "units"
    sampled = f"Poisson, rate {mechanism.rate:.6g}, {places} places for {mechanism.batch_size} expected {counted}"
    of_unit = (
        unit and f"one of {mechanism.n_examples:,} values of {unit.name}, at most {unit.per_unit} examples of each"
    )
    return {
        "epsilon": epsilon(mechanism)._asdict(),
        "epsilon_of_all_runs": epsilon(mechanism, n_runs=n_runs)._asdict(),
        "n_runs": n_runs,
        "delta": mechanism.delta,
        "unit": of_unit or "one training example",
        "relation": mechanism.relation,
        "n_examples": mechanism.n_examples,
        "sampling": f"all {counted} in every step" if is_whole else sampled,
        "n_steps": mechanism.n_steps,
        "noise_multiplier": mechanism.noise_multiplier,
        "clip": mechanism.clip,
        "clipping": mechanism.clipping,
        "generator": _generator(mechanism),
    }


def _generator(mechanism: Mechanism) -> str:
    """Returns the generator of the noise and its key."""
    if mechanism.secret is None:
        return "the run's key: it must stay secret, or the noise can be subtracted"
    return "threefry2x32, keyed by a secret of 64 bits and the run's key; not a cryptographic generator"


@functools.cache
def _accounting() -> Any:
    """Returns the dp-accounting package."""
    try:
        import dp_accounting
        from dp_accounting import pld, rdp  # noqa: F401
    except ImportError as error:
        raise ValueError(
            'epsilon needs the dp-accounting package, which is not installed. Run: pip install "jaxresearch[privacy]"'
        ) from error
    # It warns of the Rényi orders that it leaves out, which only loosens the bound.
    logging.getLogger("absl").addFilter(lambda record: "Excluding this order" not in record.getMessage())
    return dp_accounting

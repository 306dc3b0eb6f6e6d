"""One object that holds everything a privacy guarantee depends on: sampling, clipping, noise, steps, delta, relation."""

import dataclasses
import functools
import math
from typing import Literal, NamedTuple

import scipy.stats

from jaxresearch.sampling import Poisson

Relation = Literal["zero-out", "add-or-remove"]
Clipping = Literal["flat", "per-array"]

_OVERFLOW = 1e-6  # of delta: the largest probability that any batch of a run has too few places


class Unit(NamedTuple):
    """Whom a guarantee protects, if not a single example: all examples of a user or a patient.

    Attributes:
        name: What tells units apart, such as the column ``user``.
        per_unit: Largest number of examples of a unit in the data, as in `jaxresearch.privacy.by_unit`. It must not be read from
            the data.
    """

    name: str
    per_unit: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mechanism:
    r"""The Gaussian mechanism on Poisson-sampled batches: sampler, noise and accountant read the same numbers.

    In each step, each example takes part with probability :math:`q = b / n`; its gradient is clipped to the norm :math:`c`; noise
    of standard deviation :math:`\sigma c` is added to the sum, which is divided by the expected batch size :math:`b`.

    ===================  =================================================================  ====================================
    relation             neighbouring data sets                                             ``n_examples``
    ===================  =================================================================  ====================================
    ``"zero-out"``       the contribution of one example is set to zero                     the number of examples, public
    ``"add-or-remove"``  one has an example more than the other                             a public upper bound of it
    ===================  =================================================================  ====================================

    Attributes:
        noise_multiplier: The standard deviation :math:`\sigma` of the noise, in units of ``clip``; 0 or more.
        clip: Largest norm :math:`c` of the gradient of one example, positive.
        n_examples: See the table. Under ``"add-or-remove"`` it must not be read from the data.
        batch_size: Expected number of examples per step, 1 to ``n_examples``; equal to it, every step uses all examples.
        n_steps: Number of steps, 1 or more.
        delta: The :math:`\delta` of the guarantee, above 0 and below ``1 / n_examples``.
        relation: Which data sets are neighbours.
        unit: Whom the guarantee protects; None for single examples. With a unit, the gradient of the mean loss over its examples
            takes the place of an example's gradient, and ``n_examples`` and ``batch_size`` count units.
        clipping: Whether the norm of the whole gradient is clipped, or of each array to ``clip / sqrt(number of arrays)``.
        secret: Two random 32-bit words, the key of the sampling and of the noise together with the run's key. With None, whoever
            knows the run's key can subtract the noise.

    Example:
        >>> mechanism = Mechanism(noise_multiplier=1.1, clip=1.0, n_examples=60_000, batch_size=256, n_steps=14_062, delta=1e-5)
        >>> mechanism.rate == 256 / 60_000, mechanism.sampling.capacity
        (True, 394)

    References:
        Abadi et al. (2016), Deep learning with differential privacy, CCS, algorithm 1. https://arxiv.org/abs/1607.00133
    """

    noise_multiplier: int | float
    clip: int | float
    n_examples: int
    batch_size: int
    n_steps: int
    delta: int | float
    relation: Relation = "zero-out"
    clipping: Clipping = "flat"
    unit: Unit | None = None
    secret: tuple[int, int] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.noise_multiplier < math.inf:
            raise ValueError(
                f"noise_multiplier must be 0 or more and finite, got {self.noise_multiplier}. Pass 1.0, or use for_epsilon."
            )
        if not 0 < self.clip < math.inf:
            raise ValueError(f"clip must be positive and finite, got {self.clip}. Pass 1.0.")
        if not 1 <= self.batch_size <= self.n_examples:
            raise ValueError(
                f"batch_size must be between 1 and {self.n_examples}, got {self.batch_size}. Pass the expected examples per step."
            )
        if self.n_steps < 1:
            raise ValueError(f"n_steps must be 1 or more, got {self.n_steps}. Pass the number of steps of the run.")
        if not 0 < self.delta < 1 / self.n_examples:
            raise ValueError(
                f"delta must be above 0 and below 1 / {self.n_examples}, got {self.delta}: a larger one allows publishing an "
                f"example at random. Pass {0.1 / self.n_examples:.0e}."
            )
        for name, value, choices in (("relation", self.relation, Relation), ("clipping", self.clipping, Clipping)):
            if value not in (allowed := choices.__args__):
                remedy = " or ".join(f"{name}={one!r}" for one in allowed)
                raise ValueError(f"{name} must be {' or '.join(allowed)}, got {value!r}. Pass {remedy}.")

    @property
    def rate(self) -> float:
        """The probability with which an example takes part in a step."""
        return self.batch_size / self.n_examples

    @property
    def sampling(self) -> Poisson:
        """The sampling of the batches; `overflow` is at most a millionth of delta.

        Under ``"zero-out"`` it refuses data of another length than ``n_examples``, under ``"add-or-remove"`` longer ones.
        """
        capacity = _capacity(self.n_examples, self.rate, _OVERFLOW * self.delta / self.n_steps)
        is_exact = self.relation == "zero-out"
        return Poisson(
            rate=self.rate, capacity=capacity, n_examples=self.n_examples, is_exact=is_exact, secret=self.secret
        )

    @property
    def overflow(self) -> float:
        """A bound of the probability that all places of any batch of a run are taken by others than a given example."""
        return self.n_steps * _full(self.sampling.capacity, self.n_examples, self.rate)


@functools.cache
def _capacity(n: int, rate: float, largest: float) -> int:
    """Returns the smallest capacity that all examples but one fill with at most the given probability."""
    low, high = 1, n  # a bisection, as the inverse of the tail is not accurate so far out
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _full(middle, n, rate) <= largest else (middle + 1, high)
    return low


def _full(capacity: int, n: int, rate: float) -> float:
    """Returns the probability that all examples but one fill the places of a batch."""
    return float(scipy.stats.binom.sf(capacity - 1, n - 1, rate))

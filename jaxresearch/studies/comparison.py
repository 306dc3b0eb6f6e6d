"""Settings compared with the baseline, paired by seed, and the size of differences due to seeds alone."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxresearch import statistics
from jaxresearch.adjust import Trial
from jaxresearch.statistics import Difference

_UNDEFINED = Difference(math.nan, math.nan, math.nan)
_ERROR = 0.05


class Comparison(NamedTuple):
    """Differences from the baseline, p-values adjusted for the number of comparisons, and the noise floor.

    ``differences`` and ``p_values`` have an entry for each trial; it is nan for the baseline itself and where a run
    diverged. ``noise`` is the difference of the baseline from itself with other seeds, and ``floor`` what the largest of so
    many differences between equal settings, of the seed variance of the baseline, exceeds in one of twenty sweeps at most.
    """

    differences: tuple[Difference, ...]
    p_values: tuple[float, ...]
    noise: float
    floor: float

    @property
    def n_differences(self) -> int:
        """Number of settings with a defined difference from the baseline."""
        return sum(not math.isnan(found.mean) for found in self.differences)


def other_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Returns the smallest seeds that are not among these, as many of them.

    Args:
        seeds: Any.

    Returns:
        Integers, 0 or more.

    Example:
        >>> other_seeds((0, 1, 4))
        (2, 3, 5)
    """
    return tuple(itertools.islice((seed for seed in itertools.count() if seed not in seeds), len(seeds)))


def against_baseline(trials: Sequence[Trial], baseline: Trial, again: Trial, metric: str) -> Comparison:
    """Returns the comparison of settings with the baseline, and the differences due to seeds alone.

    Args:
        trials: Of the settings.
        baseline: Trial of the baseline with the same seeds.
        again: Trial of the baseline with the same number of other seeds.
        metric: A scalar.

    Returns:
        The comparison. Differences are paired by seed, so they hold for the examples of the evaluation.

    Example:
        >>> baseline, again, better = ({"r2": np.array(values)} for values in ([0.5, 0.6], [0.6, 0.5], [0.7, 0.81]))
        >>> found = against_baseline([Trial("b", better, False)], Trial("a", baseline, False), Trial("a", again, False), "r2")
        >>> round(found.differences[0].mean, 3), round(found.p_values[0], 3), round(found.floor, 2)
        (0.205, 0.016, 0.3)

    References:
        Holm (1979), as for `jaxresearch.statistics.holm`.
    """
    reference = np.asarray(baseline.metrics[metric], np.float64)
    differences = tuple(
        _UNDEFINED
        if trial.hyperparameters == baseline.hyperparameters
        else statistics.difference(trial.metrics[metric], reference)
        for trial in trials
    )
    p_values = statistics.holm([found.p for found in differences])
    noise = statistics.mean(again.metrics[metric]) - statistics.mean(reference)
    comparison = Comparison(differences, tuple(p_values), noise, math.nan)
    floor = statistics.noise_floor(reference, again.metrics[metric], n_differences=comparison.n_differences)
    return comparison._replace(floor=floor)


def is_more_than_noise(comparison: Comparison, place: int, *, higher: bool) -> bool:
    """Returns whether settings beat the baseline by more than the noise of seeds among as many settings.

    Args:
        comparison: Of all settings.
        place: Index of the settings.
        higher: Whether a higher value of the metric is better.

    Returns:
        True if the adjusted p-value of the difference is below 0.05 and the difference is an improvement.

    Example:
        >>> found = Comparison((Difference(0.2, 0.1, 0.3, p=0.01),), (0.01,), 0.0, 0.1)
        >>> is_more_than_noise(found, 0, higher=True)
        True
    """
    mean = comparison.differences[place].mean
    return comparison.p_values[place] < _ERROR and (mean > 0 if higher else mean < 0)

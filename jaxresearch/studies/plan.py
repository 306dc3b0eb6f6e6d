"""The budget and the results of a study, and how all of its parts prepare data."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxresearch import data
from jaxresearch.adjust import History
from jaxresearch.data import Dataset
from jaxresearch.execution import Outcome, Progress
from jaxresearch.experiment import Experiment, Objective

_FEWEST = 10  # seeds of a confirmation: with five, real improvements are often within the interval
BASELINE = "the baseline"  # the first round of every study


class Budget(NamedTuple):
    """The limits of a study: rounds and seconds of the search, the seeds of each round, fresh seeds for the conclusion."""

    rounds: int = 10
    seconds: int | float = 3600.0
    seeds: tuple[int, ...] = (0, 1, 2)
    fresh_seeds: tuple[int, ...] = tuple(range(3, 13))


class Looks(NamedTuple):
    """How the runs of a study use validation data: the fraction split off for it, and how often (0: once per epoch).

    A study splits off its selection data first, and the validation data from the rest.
    """

    fraction: float
    every: int = 0


class Search(NamedTuple):
    """The result of a search: its rounds, why it ended, and the chosen settings."""

    history: History
    why: str
    best: Any


class Conclusion(NamedTuple):
    """How a study ended: its rounds, why it stopped, the chosen settings, and their outcome on the test part.

    ``baseline`` is the outcome of the baseline with the same fresh seeds, so that the gain is paired; None if it was
    chosen.
    """

    history: History
    why: str
    best: Any
    outcome: Outcome
    baseline: Outcome | None


def require_fresh(budget: Budget) -> None:
    """Raises if a fresh seed is among the seeds that choose settings.

    Args:
        budget: Of a study.

    Raises:
        ValueError: If a seed is in both.

    Example:
        >>> require_fresh(Budget(seeds=(0, 1), fresh_seeds=(2, 3)))
    """
    if common := sorted({*budget.seeds} & {*budget.fresh_seeds}):
        raise ValueError(f"fresh_seeds must not be among seeds, got {common[0]} in both. Pass others.")


def objective_of(experiment: Experiment) -> Objective:
    """Returns the objective by which a study compares settings.

    Args:
        experiment: Declares a claim, ``maximise`` or ``minimise``.

    Returns:
        The metric, and whether higher is better.

    Raises:
        ValueError: If the experiment declares none of these.

    Example:
        >>> from jaxresearch.loading import load
        >>> objective_of(load("mnist"))
        Objective(metric='accuracy', higher=True)
    """
    if experiment.objective is None:
        raise ValueError(
            "experiment must declare a claim, maximise or minimise to compare settings by, got none. "
            "Write: maximise='accuracy'"
        )
    return experiment.objective


def confirmation_seeds(budget: Budget) -> tuple[int, ...]:
    """Returns the seeds of a confirmation: the number of fresh seeds, at least ten, after all others.

    Args:
        budget: Of a study.

    Returns:
        Seeds that neither choose settings nor decide the claim.

    Example:
        >>> confirmation_seeds(Budget(seeds=(0, 1), fresh_seeds=(2, 3)))
        (4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    """
    first = max(*budget.seeds, *budget.fresh_seeds) + 1
    return tuple(range(first, first + max(len(budget.fresh_seeds), _FEWEST)))


def named(observe: Callable[[Progress], None], what: str) -> Callable[[Progress], None]:
    """Returns an observer that labels chunks with what is trained.

    Args:
        observe: Called after each chunk of steps.
        what: The label.

    Returns:
        The labelling observer.

    Example:
        >>> named(print, "the baseline")  # doctest: +ELLIPSIS
        <function ...>
    """
    return lambda progress: observe(progress._replace(what=what))


def prepared(experiment: Experiment, dataset: Dataset, looks: Looks | None) -> tuple[Dataset, int | None]:
    """Returns prepared data with validation data split off its training part, and how often to evaluate on them.

    Args:
        experiment: Prepares the data.
        dataset: As collected.
        looks: How runs use validation data; None if they do not.

    Returns:
        Data, and ``evaluate_every`` as `jaxresearch.execution.execute` takes it.

    Example:
        >>> from jaxresearch.loading import load
        >>> house = load("house_prices")
        >>> _, every = prepared(house, house.collect(house.source), Looks(0.1, every=50))
        >>> every
        50
    """
    if looks is None:
        return experiment.prepare(dataset), None
    return experiment.prepare(data.with_validation(dataset, fraction=looks.fraction)), looks.every

"""The end of a study: the best settings are confirmed with other seeds, and the test part is read once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxresearch import data, execution, statistics
from jaxresearch.data import Dataset
from jaxresearch.execution import Outcome, Progress
from jaxresearch.experiment import Experiment
from jaxresearch.statistics import About, Difference
from jaxresearch.studies.plan import (
    BASELINE,
    Budget,
    Conclusion,
    Looks,
    Search,
    confirmation_seeds,
    named,
    objective_of,
    prepared,
    require_fresh,
)
from jaxresearch.studies.rounds import search


def study(
    experiment: Experiment,
    dataset: Dataset,
    *,
    budget: Budget,
    looks: Looks | None = None,
    observe: Callable[[Progress], None] = lambda progress: None,
) -> Conclusion:
    """Returns the conclusion of a study: rounds until nothing is left to gain or to try, then the test, once.

    Args:
        experiment: As declared, with ``adjust``.
        dataset: As collected; its test part is read after the last round. Preprocessing is fitted separately on the training
            parts of the search and of the conclusion.
        budget: Rounds, seconds, seeds.
        looks: How runs use validation data while they train; not at all by default.
        observe: Called after each chunk of steps.

    Returns:
        The rounds, the chosen settings and their outcome with fresh seeds.

    Raises:
        ValueError: If the experiment has no ``adjust``, a fresh seed was used before, or as `jaxresearch.execution.execute_all`.

    Example:
        >>> from jaxresearch.loading import load
        >>> house = load("house_prices")
        >>> dataset = house.collect(house.source)
        >>> conclusion = study(house, dataset, budget=Budget(fresh_seeds=(3, 4, 5, 6, 7)))
        >>> conclusion.why
        'the interval on the selection data supported the claim, so the settings of adjust were not tried'
        >>> f"{conclusion.outcome.metrics['r2'].mean():.4f}"
        '0.4995'
    """
    searched = search(experiment, dataset, budget=budget, looks=looks, observe=observe)
    searched = confirm(experiment, dataset, searched, budget=budget, looks=looks, observe=observe)
    return conclude(experiment, dataset, searched, budget=budget, looks=looks, observe=observe)


def confirm(
    experiment: Experiment,
    dataset: Dataset,
    searched: Search,
    *,
    budget: Budget,
    looks: Looks | None = None,
    observe: Callable[[Progress], None] = lambda progress: None,
) -> Search:
    """Returns the search with its best settings if they beat the baseline again with other seeds, else the baseline.

    The best of many settings looks better than it is, because it also had the luckiest seeds. Other seeds do not share that
    luck, and a single comparison needs no correction: settings without an effect are kept in one of forty studies, however
    many were tried.

    Args:
        experiment: As declared.
        dataset: As collected; its test part is not read.
        searched: The result of the rounds.
        budget: Determines the seeds, as in `confirmation_seeds`.
        looks: How runs use validation data while they train; not at all by default.
        observe: Called after each chunk of steps.

    Returns:
        The same rounds, the settings to keep, and the reason.

    Example:
        >>> from jaxresearch.loading import load
        >>> house = load("house_prices")
        >>> dataset, baseline = house.collect(house.source), house.hyperparameters
        >>> confirm(house, dataset, Search((), "asked for", baseline), budget=Budget()).why
        'asked for'
    """
    baseline, best = experiment.hyperparameters, searched.best
    if best == baseline:
        return searched
    development, every = prepared(experiment, data.development(dataset), looks)
    seeds = confirmation_seeds(budget)
    of_best, of_baseline = (
        execution.execute(
            experiment,
            setting,
            development,
            seeds=seeds,
            evaluate_every=every,
            observe=named(observe, f"confirmation, {what}"),
        )
        for setting, what in ((best, "the best settings"), (baseline, BASELINE))
    )
    metric, higher = objective_of(experiment)
    about: About = "new examples" if experiment.claim is None else experiment.claim.about
    found = gain(of_best, of_baseline, metric, dataset=development, about=about)
    is_better = found.low > 0 if higher else found.high < 0
    mean, low, high = statistics.estimate_texts(*found[:3], is_signed=True)
    result = f"the difference was {mean} (95 % interval {low} to {high})"
    if np.isnan(found.mean):  # of one of the two, since a seed diverged or the metric is undefined
        is_better = bool(np.isfinite(of_best.metrics[metric]).all())
        result = f"{metric} of the {'baseline' if is_better else 'best settings'} was undefined"
    kept = "the best settings were kept" if is_better else "the baseline was kept"
    lead = _lead(searched, baseline, of_baseline.metrics[metric], metric)
    why = f"{searched.why}. {lead}With {len(seeds)} other seeds, {result}, so {kept}"
    return Search(searched.history, why, best if is_better else baseline)


def _lead(searched: Search, baseline: Any, again: np.ndarray, metric: str) -> str:
    """Returns the lead of the best settings in the search and its noise floor as a sentence; empty if unknown."""
    trials = {trial.hyperparameters: trial for one in searched.history for trial in one.trials}
    if searched.best not in trials or baseline not in trials:
        return ""
    best, reference = (trials[setting].metrics[metric] for setting in (searched.best, baseline))
    n_others, n_seeds = len({trial.digest for trial in trials.values()}) - 1, len(reference)
    floor = statistics.noise_floor(reference, again, n_differences=n_others, n_seeds=n_seeds)
    lead = statistics.mean(best) - statistics.mean(reference)
    if not (np.isfinite(lead) and np.isfinite(floor)):
        return ""
    counts = f"{n_others} setting{'s' if n_others > 1 else ''} and {n_seeds} seed{'s' if n_seeds > 1 else ''}"
    lead, floor = statistics.number_text(lead, is_signed=True), statistics.number_text(floor)
    differed = f"In the search, the best settings differed from the baseline by {lead} {metric}"
    return f"{differed}; the noise floor for {counts} was {floor}. "


def conclude(
    experiment: Experiment,
    dataset: Dataset,
    searched: Search,
    *,
    budget: Budget,
    looks: Looks | None = None,
    observe: Callable[[Progress], None] = lambda progress: None,
) -> Conclusion:
    """Returns the conclusion: the chosen settings and the baseline, trained on all training data, on the test part.

    Args:
        experiment: As declared.
        dataset: As collected; its test part is read here.
        searched: The result of the rounds.
        budget: Its fresh seeds, which the rounds did not use.
        looks: How runs use validation data while they train; not at all by default.
        observe: Called after each chunk of steps.

    Returns:
        The rounds, the chosen settings and their outcome.

    Raises:
        ValueError: If a fresh seed was used before, or as `jaxresearch.execution.execute`.

    Example:
        >>> from jaxresearch.loading import load
        >>> house = load("house_prices")
        >>> dataset, baseline = house.collect(house.source), house.hyperparameters
        >>> conclusion = conclude(house, dataset, Search((), "asked for", baseline), budget=Budget(fresh_seeds=(3, 4)))
        >>> conclusion.outcome.metrics["r2"].shape, conclusion.baseline is None
        ((2,), True)
    """
    require_fresh(budget)
    dataset, every = prepared(experiment, dataset, looks)

    def executed(setting: Any, what: str) -> Outcome:
        seeds, observed = budget.fresh_seeds, named(observe, what)
        return execution.execute(experiment, setting, dataset, seeds=seeds, evaluate_every=every, observe=observed)

    outcome, is_baseline = executed(searched.best, "the chosen settings"), searched.best == experiment.hyperparameters
    baseline = None if is_baseline else executed(experiment.hyperparameters, BASELINE)
    return Conclusion(*searched, outcome, baseline)


def gain(
    chosen: Outcome, other: Outcome, metric: str, *, dataset: Dataset, about: About = "new examples"
) -> Difference:
    """Returns the gain of settings over others with the same seeds on the same examples, in the unit of the metric.

    Args:
        chosen: Outcome of the settings.
        other: Outcome of the others.
        metric: A scalar.
        dataset: The data of both evaluations. Examples of weight 0 are left out; examples of a group are resampled together.
        about: What the gain should hold for: with new examples, examples vary as well as seeds.

    Returns:
        The difference, over seeds and examples if their influences are known, else over seeds.

    Example:
        >>> from jaxresearch.loading import load
        >>> house = load("house_prices")
        >>> dataset, baseline = house.collect(house.source), house.hyperparameters
        >>> found = conclude(house, dataset, Search((), "asked for", baseline), budget=Budget(fresh_seeds=(3, 4)))
        >>> gain(found.outcome, found.outcome, "r2", dataset=dataset).mean
        0.0
    """
    pair = (chosen.metrics[metric], other.metrics[metric])
    held = [data.without_padding(dataset, one.influences.get(metric)) for one in (chosen, other)]
    if about != "new examples" or any(one is None for one in held) or len(pair[0]) < 2:
        return statistics.difference(*pair)
    groups = data.groups_of_test(dataset)
    return statistics.difference(*pair, *held, over="seeds and examples", groups=groups)

"""The rounds of a study: propose, train and score, until nothing is left to gain or to try."""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxresearch import adjust, data, execution, statistics
from jaxresearch.adjust import History, Proposal, Round, Trial
from jaxresearch.data import Dataset
from jaxresearch.execution import Progress, provenance
from jaxresearch.experiment import Experiment
from jaxresearch.studies.plan import BASELINE, Budget, Looks, Search, named, objective_of, prepared, require_fresh


def search(
    experiment: Experiment,
    dataset: Dataset,
    *,
    budget: Budget,
    history: History = (),
    known: Sequence[Trial] = (),
    looks: Looks | None = None,
    observe: Callable[[Progress], None] = lambda progress: None,
    on_trials: Callable[[tuple[Trial, ...]], None] = lambda trials: None,
    on_round: Callable[[History], None] = lambda history: None,
) -> Search:
    """Returns the result of the rounds of a study on training and selection data; the test part is not read.

    Args:
        experiment: As declared, with ``adjust``.
        dataset: As collected.
        budget: Rounds, seconds, seeds; the seconds of recorded rounds count.
        history: Recorded rounds to resume from. The first one that the program, the data or ``adjust`` has changed is rerun
            with all later ones.
        known: Other recorded trials. A trial is not trained again while its digest is the same.
        looks: How runs use validation data while they train; not at all by default.
        observe: Called after each chunk of steps.
        on_trials: Called after each program of a round, with its trials.
        on_round: Called after each round, with all rounds so far.

    Returns:
        All rounds, why they ended, and the best setting.

    Raises:
        ValueError: As `study`.

    Example:
        >>> import dataclasses
        >>> from jaxresearch.loading import load
        >>> house = load("house_prices")
        >>> dataset = house.collect(house.source)
        >>> slow = dataclasses.replace(house.hyperparameters, learning_rate=0.01)
        >>> poor = dataclasses.replace(house, hyperparameters=slow, adjust=adjust.grid(learning_rate=[0.5]))
        >>> searched = search(poor, dataset, budget=Budget())
        >>> [one.why for one in searched.history], searched.best.learning_rate > 0.01
        (['the baseline', 'a grid over learning_rate'], True)
    """
    require_fresh(budget)
    if experiment.adjust is None:
        raise ValueError("experiment must declare adjust for a study, got none. Write: adjust=adjust.grid(...)")
    development, every = prepared(experiment, data.development(dataset), looks)
    before = _valid(experiment, history, development, budget, every)
    others = {trial.digest: trial._replace(gradient=None) for trial in known}

    def extended(history: History, proposal: Proposal) -> History:
        trials = others | _known((*before, *history), proposal.differentiate)
        observed = named(observe, f"round {len(history) + 1}")
        history = (*history, _round(experiment, proposal, trials, (development, every), budget, observed, on_trials))
        on_round(history)
        return history

    history = _held(experiment, before, history)
    if not history:
        history = extended((), Proposal((experiment.hyperparameters,), BASELINE))
    while (why := _finished(experiment, history, budget)) is None:
        proposal = experiment.adjust(history)
        if proposal is None or not proposal.settings:
            break
        history = extended(history, proposal)
    return Search(history, why or "nothing was left to try", best_of(experiment, history))


def score(experiment: Experiment, trial: Trial) -> float:
    """Returns the score of a trial: the mean of the objective's metric; -inf if the trial diverged or the mean is undefined.

    Args:
        experiment: Declares the objective by a claim, ``maximise`` or ``minimise``.
        trial: With metrics of the selection data.

    Returns:
        A number; higher is better.

    Raises:
        ValueError: If the experiment declares none of these.

    Example:
        >>> from jaxresearch.loading import load
        >>> round(score(load("mnist"), Trial(None, {"accuracy": np.array([0.9, 0.8])}, False)), 2)
        0.85
    """
    metric, higher = objective_of(experiment)
    mean = float(np.mean(trial.metrics[metric], dtype=np.float64))
    if trial.diverged or not np.isfinite(mean):
        return -np.inf
    return mean if higher else -mean


def best_of(experiment: Experiment, history: History) -> Any:
    """Returns the hyperparameters with the best score among those trained for at least as many epochs as the baseline.

    Args:
        experiment: Has the baseline.
        history: The rounds.

    Returns:
        Hyperparameters; a trial of fewer epochs, as on the lower rungs of halving, is no candidate.

    Example:
        >>> from jaxresearch.loading import load
        >>> mnist = load("mnist")
        >>> best_of(mnist, (Round("baseline", (Trial(mnist.hyperparameters, {}, False),), (0.9,)),)).epochs
        5
    """
    return _best(experiment, history).hyperparameters


def _best(experiment: Experiment, history: History) -> Trial:
    """Returns the trial with the best score among those trained for at least as many epochs as the baseline."""
    tried = [pair for one in history for pair in zip(one.trials, one.scores, strict=True)]
    whole = [pair for pair in tried if _length(pair[0].hyperparameters) >= _length(experiment.hyperparameters)]
    return max(whole, key=lambda pair: pair[1])[0]


def _length(hyperparameters: Any) -> int:
    """Returns the length of runs with these hyperparameters, in epochs or in steps."""
    return hyperparameters.n_steps if hasattr(hyperparameters, "n_steps") else hyperparameters.epochs


def _round(
    experiment: Experiment,
    proposal: Proposal,
    known: dict[str, Trial],
    development: tuple[Dataset, int | None],
    budget: Budget,
    observe: Callable[[Progress], None],
    on_trials: Callable[[tuple[Trial, ...]], None],
) -> Round:
    """Returns the round of a proposal; trials with a known digest are not trained again.

    Settings that differ only in fields that their program does not read share a digest: they are trained once, and each is
    a separate trial.
    """
    seeds, metric, start = budget.seeds, proposal.differentiate, time.perf_counter()
    baseline, (dataset, every) = experiment.hyperparameters, development
    settings = list(dict.fromkeys(adjust.replaced(baseline, vars(setting)) for setting in proposal.settings))
    digests = provenance.digests(experiment, settings, dataset, seeds=seeds, evaluate_every=every)
    digest_of = dict(zip(settings, digests, strict=True))
    firsts = [setting for place, setting in enumerate(settings) if digests.index(digests[place]) == place]
    new = [setting for setting in firsts if digest_of[setting] not in known]
    for places in provenance.groups(new):
        chosen = [new[place] for place in places]
        trained = execution.execute_all(experiment, chosen, dataset, seeds=seeds, evaluate_every=every, observe=observe)
        trained = tuple(trial._replace(digest=digest_of[trial.hyperparameters]) for trial in trained)
        known = known | {trial.digest: trial for trial in trained}
        on_trials(trained)
    trials = tuple(known[digest]._replace(hyperparameters=setting) for setting, digest in digest_of.items())
    if metric is not None:
        trials = tuple(_differentiated(experiment, trial, development, seeds, metric) for trial in trials)
    scores, seconds = tuple(score(experiment, trial) for trial in trials), time.perf_counter() - start
    return Round(proposal.why, trials, scores, metric, proposal.replayable, seconds)


def _known(history: History, metric: str | None) -> dict[str, Trial]:
    """Returns the trials of a history by digest, with the gradient if it is that of the metric."""
    known: dict[str, Trial] = {}
    for one in history:
        of_metric = metric is not None and one.differentiate == metric
        for trial in one.trials:
            if of_metric or trial.digest not in known:
                known[trial.digest] = trial if of_metric else trial._replace(gradient=None)
    return known


def _differentiated(
    experiment: Experiment, trial: Trial, development: tuple[Dataset, int | None], seeds: Sequence[int], metric: str
) -> Trial:
    """Returns the trial with its hypergradient; one that diverged has none."""
    if trial.diverged or trial.gradient is not None:
        return trial
    setting, (dataset, every) = trial.hyperparameters, development
    gradient = execution.differentiate(experiment, setting, dataset, seeds=seeds, metric=metric, evaluate_every=every)
    return trial._replace(gradient=gradient)


def _valid(
    experiment: Experiment, history: History, development: Dataset, budget: Budget, every: int | None
) -> History:
    """Returns the rounds without the trials whose program or data has changed, with new scores."""
    if not history:
        return ()
    settings = [trial.hyperparameters for one in history for trial in one.trials]
    now = iter(provenance.digests(experiment, settings, development, seeds=budget.seeds, evaluate_every=every))
    rounds = []
    for one in history:
        trials = tuple(trial for trial in one.trials if trial.digest == next(now))
        rounds.append(one._replace(trials=trials, scores=tuple(score(experiment, trial) for trial in trials)))
    return tuple(rounds)


def _held(experiment: Experiment, valid: History, recorded: History) -> History:
    """Returns the rounds before the first one that has to be rerun, with a warning if there is one."""
    kept: list[Round] = []
    for one, before in zip(valid, recorded, strict=True):
        if len(one.trials) < len(before.trials):
            why = "their program or data has changed"
        elif one.replayable and not _is_proposed(experiment, one, tuple(kept)):
            why = "adjust now proposes other settings"
        else:
            kept.append(one)
            continue
        warnings.warn(f"round {len(kept) + 1} and all later rounds are rerun: {why}", stacklevel=3)
        break
    return tuple(kept)


def _is_proposed(experiment: Experiment, one: Round, history: History) -> bool:
    """Returns whether the strategy proposes a round after this history."""
    assert experiment.adjust is not None  # checked by `study`
    baseline = Proposal((experiment.hyperparameters,), BASELINE)
    proposal = experiment.adjust(history) if history else baseline
    if proposal is None:
        return False
    settings = [trial.hyperparameters for trial in one.trials]
    return proposal.differentiate == one.differentiate and settings == list(dict.fromkeys(proposal.settings))


def _finished(experiment: Experiment, history: History, budget: Budget) -> str | None:
    """Returns why the search ends, or None.

    The best of many settings owes part of its lead to luck, the more so the more often it is checked. So its interval, Student's
    t because seeds are few, has a confidence that holds for all settings at once (Bonferroni) and all rounds: the check
    after round r has error 0.05 / (r (r + 1)), which adds up to 0.05 over any number of rounds.
    """
    trial, claim = _best(experiment, history), experiment.claim
    n, rounds = len({trial.digest for one in history for trial in one.trials}), len(history)
    error = 0.05 / (rounds * (rounds + 1)) / n
    if claim is not None and not trial.diverged:
        low, high = statistics.t_interval(trial.metrics[claim.evaluated], confidence=1 - error)
        if statistics.verdict((low, high), claim) == "supported":
            untried = ", so the settings of adjust were not tried"
            corrected = f", even when corrected for {n} settings" if n > 1 else ""
            return f"the interval on the selection data supported the claim{corrected or untried}"
    if rounds >= budget.rounds:
        return f"the budget of {budget.rounds} round{'s' if budget.rounds > 1 else ''} was spent"
    if sum(one.seconds for one in history) > budget.seconds:
        return f"the budget of {budget.seconds:g} seconds was spent"
    return None

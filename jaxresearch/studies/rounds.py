"""The rounds of a study: proposed, trained, scored, until nothing is left to gain or to try."""

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
from jaxresearch.studies.plan import PLAIN, Budget, Looks, Search, named, objective_of, prepared, require_fresh


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
    """Returns what the rounds of a study come to, on training and validation data; the test part is not read.

    Args:
        experiment: The stages, ``adjust`` among them.
        dataset: As collected.
        budget: Rounds, seconds, seeds; the seconds of the rounds on record count.
        history: Rounds on record, to resume from. The first one that the program, the data or ``adjust`` would now make
            differently is rerun, and so are those after it.
        known: Other trials that were made before. None whose digest still holds is trained again.
        looks: How runs look at validation data while they train; not at all unless given.
        observe: Called after each chunk of steps.
        on_trials: Called after each program of a round, with the trials that it made.
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
        >>> [made.why for made in searched.history], searched.best.learning_rate > 0.01
        (['the plain settings', 'a grid over learning_rate'], True)
    """
    require_fresh(budget)
    if experiment.adjust is None:
        raise ValueError("experiment must declare adjust to be studied; it does not. Write: adjust=adjust.grid(...)")
    development, every = prepared(experiment, data.development(dataset), looks)
    before = _valid(experiment, history, development, budget, every)
    others = {trial.digest: trial._replace(gradient=None) for trial in known}

    def extended(history: History, proposal: Proposal) -> History:
        trials = others | _known((*before, *history), proposal.differentiate)
        seen = named(observe, f"round {len(history) + 1}")
        history = (*history, _round(experiment, proposal, trials, (development, every), budget, seen, on_trials))
        on_round(history)
        return history

    history = _held(experiment, before, history)
    if not history:
        history = extended((), Proposal((experiment.hyperparameters,), PLAIN))
    while (why := _finished(experiment, history, budget)) is None:
        proposal = experiment.adjust(history)
        if proposal is None or not proposal.settings:
            break
        history = extended(history, proposal)
    return Search(history, why or "nothing is left to try", best_of(experiment, history))


def score(experiment: Experiment, trial: Trial) -> float:
    """Returns how well a trial did: the mean of the metric that settings are compared by; -inf if it diverged or is undefined.

    Args:
        experiment: Gives the metric: that of its claim, or ``maximise`` or ``minimise``.
        trial: Its metrics are of the validation data.

    Returns:
        A number that is the better the higher.

    Raises:
        ValueError: If the experiment declares none of them.

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
    """Returns the hyperparameters that scored best of those trained for no fewer epochs than the plain ones.

    Args:
        experiment: Gives the plain settings.
        history: The rounds.

    Returns:
        Hyperparameters; a trial of fewer epochs, as on the lower rungs of halving, is no candidate.

    Example:
        >>> from jaxresearch.loading import load
        >>> mnist = load("mnist")
        >>> best_of(mnist, (Round("plain", (Trial(mnist.hyperparameters, {}, False),), (0.9,)),)).epochs
        5
    """
    return _best(experiment, history).hyperparameters


def _best(experiment: Experiment, history: History) -> Trial:
    """Returns the trial that scored best of those trained for no fewer epochs than the plain settings."""
    tried = [pair for made in history for pair in zip(made.trials, made.scores, strict=True)]
    whole = [pair for pair in tried if _length(pair[0].hyperparameters) >= _length(experiment.hyperparameters)]
    return max(whole, key=lambda pair: pair[1])[0]


def _length(hyperparameters: Any) -> int:
    """Returns how long runs with these hyperparameters are, in epochs or in steps."""
    return hyperparameters.n_steps if hasattr(hyperparameters, "n_steps") else hyperparameters.epochs


def _round(
    experiment: Experiment,
    proposal: Proposal,
    known: dict[str, Trial],
    looked: tuple[Dataset, int | None],
    budget: Budget,
    observe: Callable[[Progress], None],
    on_trials: Callable[[tuple[Trial, ...]], None],
) -> Round:
    """Returns the round of a proposal; what is known by its digest is not trained again.

    Settings that differ in fields that their program does not read have one digest: they are trained once, and each is a
    trial of its own.
    """
    seeds, metric, start = budget.seeds, proposal.differentiate, time.perf_counter()
    plain, (dataset, every) = experiment.hyperparameters, looked
    settings = list(dict.fromkeys(adjust.replaced(plain, vars(setting)) for setting in proposal.settings))
    digests = provenance.digests(experiment, settings, dataset, seeds=seeds, evaluate_every=every)
    digest_of = dict(zip(settings, digests, strict=True))
    firsts = [setting for place, setting in enumerate(settings) if digests.index(digests[place]) == place]
    new = [setting for setting in firsts if digest_of[setting] not in known]
    for places in provenance.groups(new):
        chosen = [new[place] for place in places]
        made = execution.execute_all(experiment, chosen, dataset, seeds=seeds, evaluate_every=every, observe=observe)
        made = tuple(trial._replace(digest=digest_of[trial.hyperparameters]) for trial in made)
        known = known | {trial.digest: trial for trial in made}
        on_trials(made)
    trials = tuple(known[digest]._replace(hyperparameters=setting) for setting, digest in digest_of.items())
    if metric is not None:
        trials = tuple(_differentiated(experiment, trial, looked, seeds, metric) for trial in trials)
    scores, seconds = tuple(score(experiment, trial) for trial in trials), time.perf_counter() - start
    return Round(proposal.why, trials, scores, metric, proposal.replayable, seconds)


def _known(history: History, metric: str | None) -> dict[str, Trial]:
    """Returns the trials of a history by digest, with the gradient where it is that of the metric."""
    known: dict[str, Trial] = {}
    for made in history:
        of_metric = metric is not None and made.differentiate == metric
        for trial in made.trials:
            if of_metric or trial.digest not in known:
                known[trial.digest] = trial if of_metric else trial._replace(gradient=None)
    return known


def _differentiated(
    experiment: Experiment, trial: Trial, looked: tuple[Dataset, int | None], seeds: Sequence[int], metric: str
) -> Trial:
    """Returns the trial with its hypergradient; one that diverged has none."""
    if trial.diverged or trial.gradient is not None:
        return trial
    setting, (dataset, every) = trial.hyperparameters, looked
    gradient = execution.differentiate(experiment, setting, dataset, seeds=seeds, metric=metric, evaluate_every=every)
    return trial._replace(gradient=gradient)


def _valid(
    experiment: Experiment, history: History, development: Dataset, budget: Budget, every: int | None
) -> History:
    """Returns the rounds without the trials whose program or data has changed, with new scores."""
    if not history:
        return ()
    settings = [trial.hyperparameters for made in history for trial in made.trials]
    now = iter(provenance.digests(experiment, settings, development, seeds=budget.seeds, evaluate_every=every))
    rounds = []
    for made in history:
        trials = tuple(trial for trial in made.trials if trial.digest == next(now))
        rounds.append(made._replace(trials=trials, scores=tuple(score(experiment, trial) for trial in trials)))
    return tuple(rounds)


def _held(experiment: Experiment, valid: History, recorded: History) -> History:
    """Returns the rounds before the first one that has to be rerun, with a warning if there is one."""
    held: list[Round] = []
    for made, before in zip(valid, recorded, strict=True):
        if len(made.trials) < len(before.trials):
            why = "their program or data has changed"
        elif made.replayable and not _proposed(experiment, made, tuple(held)):
            why = "adjust now proposes other settings"
        else:
            held.append(made)
            continue
        warnings.warn(f"round {len(held) + 1} and all later rounds are rerun: {why}", stacklevel=3)
        break
    return tuple(held)


def _proposed(experiment: Experiment, made: Round, history: History) -> bool:
    """Returns whether a round is what the strategy tries after this history."""
    assert experiment.adjust is not None  # `study` has seen to it
    plain = Proposal((experiment.hyperparameters,), PLAIN)
    proposal = experiment.adjust(history) if history else plain
    if proposal is None:
        return False
    settings = [trial.hyperparameters for trial in made.trials]
    return proposal.differentiate == made.differentiate and settings == list(dict.fromkeys(proposal.settings))


def _finished(experiment: Experiment, history: History, budget: Budget) -> str | None:
    """Returns why no further round is made, or None.

    The best of many looks better than it is, and the more so the more often one looks. So its interval is that of Student,
    as few seeds need, at a confidence that holds for all settings at once (Bonferroni) and all rounds: the look after
    round r may err with 0.05 / (r (r + 1)), which adds up to 0.05 over any number of rounds.
    """
    trial, claim = _best(experiment, history), experiment.claim
    n, rounds = len({trial.digest for made in history for trial in made.trials}), len(history)
    error = 0.05 / (rounds * (rounds + 1)) / n
    if claim is not None and not trial.diverged:
        low, high = statistics.t_interval(trial.metrics[claim.evaluated], confidence=1 - error)
        if statistics.verdict((low, high), claim) == "supported":
            best = f", also as that of the best of {n}" if n > 1 else ""
            return f"the validation interval supports the claim{best}"
    if rounds >= budget.rounds:
        return f"the budget of {budget.rounds} rounds is spent"
    if sum(made.seconds for made in history) > budget.seconds:
        return f"the budget of {budget.seconds:g} seconds is spent"
    return None

"""Optuna as a search strategy, optionally with a database that several studies share."""

import re
import warnings
from typing import Any

import numpy as np

from jaxresearch.adjust.history import Adjust, History, Proposal
from jaxresearch.adjust.strategies import Range, as_field, check_ranges, replaced

_DRAWS = 20  # attempts per setting to find one that was not tried


def tpe(*, n: int, seed: int = 0, storage: str | None = None, name: str | None = None, **ranges: Range) -> Adjust:
    """Returns Optuna's tree-structured Parzen estimator, with ``n`` settings per round.

    Without a storage it is a function of the history, as all strategies are. With a storage, several studies (processes,
    machines) add their trials to it and learn from all of them. Diverged trials rank below all others.

    Args:
        n: Settings per round, 1 or more; the first round is drawn at random.
        seed: Of the draws; with a storage, each process draws differently.
        storage: A database URL for Optuna, such as ``sqlite:///tune.db``; None for memory.
        name: Name of the study in the storage, for one experiment with one set of ranges.
        **ranges: As in `jaxresearch.adjust.random`.

    Returns:
        A strategy that ends when it finds no untried setting.

    Raises:
        ValueError: If ``n`` is not positive, a range is invalid, or a storage has no name; when called, if Optuna is not
            installed, or the storage cannot be used or holds other ranges under this name.

    Example:
        >>> from jaxresearch.adjust import Round, Trial
        >>> from jaxresearch.hyperparameters import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> baseline = Round("baseline", (Trial(Rates(), {}, False),), (0.5,))
        >>> proposal = tpe(n=4, learning_rate=(1e-3, 1e-1))((baseline,))
        >>> len(proposal.settings), all(1e-3 <= setting.learning_rate <= 1e-1 for setting in proposal.settings)
        (4, True)

    References:
        Bergstra, Bardenet, Bengio and Kégl (2011), Algorithms for hyper-parameter optimization, NeurIPS, section 4.
        https://papers.nips.cc/paper_files/paper/2011/hash/86e8f7ab32cfd12577bc2619bc635690-Abstract.html
    """
    check_ranges(n, ranges)
    if storage is not None and name is None:
        raise ValueError(
            f"name must be given with a storage; got only {_masked(storage)}. Pass the name of the experiment."
        )

    def adjust(history: History) -> Proposal | None:
        optuna, errors = _optuna()
        baseline = history[0].trials[0].hyperparameters
        distributions = _distributions(optuna, ranges, baseline)
        tried = _tried(optuna, history, ranges, distributions)
        trials = list(tried.values())
        if storage is not None:
            try:
                trials = _shared(optuna, storage, name, trials, distributions)
            except errors as error:
                cause = _masked(f"got {storage} ({error})")
                raise ValueError(f"storage must be a database that Optuna can use; {cause}.") from None
        draws = np.random.default_rng(None if storage else (seed, len(history))).integers(2**32)
        # Pending settings count as poor, so that the settings of a round spread out.
        sampler = optuna.samplers.TPESampler(seed=int(draws), n_startup_trials=n, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(trials)
        chosen: dict[str, Any] = {}
        for _ in range(_DRAWS * n):
            fields = _fields(study.ask(distributions).params, ranges, baseline)
            if repr(fields) not in tried:
                chosen[repr(fields)] = replaced(baseline, fields)
            if len(chosen) == n:
                break
        why = f"proposals of TPE for {' and '.join(ranges)}"
        return Proposal(tuple(chosen.values()), why, replayable=storage is None) if chosen else None

    return adjust


def _masked(text: str) -> str:
    """Returns a text with the passwords in its URLs masked."""
    return re.sub(r"(?<=://)\S+(?=@)|(?<=password=)[^&\s]+", "***", text)


def _optuna() -> tuple[Any, tuple[type[Exception], ...]]:
    """Returns the library, with its logging silenced, and the exceptions of an unusable storage."""
    try:
        import optuna
        import sqlalchemy.exc
    except ImportError as error:
        raise ValueError('tpe needs Optuna, which is not installed. Run: pip install "jaxresearch[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna, (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError)


def _distributions(optuna: Any, ranges: dict[str, Any], baseline: Any) -> dict[str, Any]:
    """Returns the ranges as Optuna distributions; for a list, over its indices."""
    replaced(baseline, ranges)
    distributions = {}
    for name, values in ranges.items():
        if not isinstance(values, tuple):
            distributions[name] = optuna.distributions.CategoricalDistribution(range(len(values)))
        elif isinstance(getattr(baseline, name), int):
            distributions[name] = optuna.distributions.IntDistribution(*values, log=True)
        else:
            distributions[name] = optuna.distributions.FloatDistribution(*values, log=True)
    return distributions


def _fields(params: dict[str, Any], ranges: dict[str, Any], baseline: Any) -> dict[str, Any]:
    """Returns the fields of a setting from Optuna's parameters."""
    return {
        name: as_field(params[name], getattr(baseline, name), *values)
        if isinstance(values, tuple)
        else values[params[name]]
        for name, values in ranges.items()
    }


def _tried(optuna: Any, history: History, ranges: dict[str, Any], distributions: dict[str, Any]) -> dict[str, Any]:
    """Returns the history as Optuna trials, by their fields, without settings outside the ranges."""
    tried = {}
    for trial, score in ((t, s) for entry in history[1:] for t, s in zip(entry.trials, entry.scores, strict=True)):
        fields = {name: getattr(trial.hyperparameters, name) for name in ranges}
        if not all(_within(fields[name], values) for name, values in ranges.items()):
            continue
        params = {
            name: fields[name] if isinstance(values, tuple) else values.index(fields[name])
            for name, values in ranges.items()
        }
        tried[repr(fields)] = optuna.trial.create_trial(params=params, distributions=distributions, value=score)
    return tried


def _within(value: Any, values: Any) -> bool:
    """Returns whether a value is in a range or list."""
    return values[0] <= value <= values[1] if isinstance(values, tuple) else value in values


def _shared(optuna: Any, storage: str, name: str | None, own: list[Any], distributions: dict[str, Any]) -> list[Any]:
    """Returns all trials in a storage, after adding those that it lacks."""
    study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True, direction="maximize")
    known = study.get_trials(deepcopy=False)
    if any(trial.distributions != distributions for trial in known):
        raise ValueError(f"study {name} in {_masked(storage)} must have these ranges, got others. Use another name.")
    params = [trial.params for trial in known]
    study.add_trials([trial for trial in own if trial.params not in params])
    return study.get_trials(deepcopy=False)

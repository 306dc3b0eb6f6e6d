"""Tuning by Optuna, as a strategy of a study: the one strategy that may keep a database, which several studies share."""

import re
import warnings
from typing import Any

import numpy as np

from jaxresearch.adjust.history import Adjust, History, Proposal
from jaxresearch.adjust.strategies import Range, as_field, check_ranges, replaced

_DRAWS = 20  # for each setting that is wanted, until one comes that was not tried


def tpe(*, n: int, seed: int = 0, storage: str | None = None, name: str | None = None, **ranges: Range) -> Adjust:
    """Returns Optuna's tree-structured Parzen estimator, asked for ``n`` settings at a time and told how they did.

    Without a storage it is a function of the history like the others. With one, several studies (processes, machines) may
    share it: each puts its trials there, and learns from those of all. What diverged is told as worse than all others.

    Args:
        n: Settings a round, 1 or more; the first round is drawn at random.
        seed: Of the draws; with a storage they differ from process to process instead.
        storage: A database that Optuna takes, as ``sqlite:///tune.db``; in memory unless given.
        name: Of the study in the storage: that of one experiment, with one set of ranges.
        **ranges: As for `jaxresearch.adjust.random`.

    Returns:
        A strategy that ends where it finds nothing that was not tried.

    Raises:
        ValueError: If ``n`` is not positive, a range is none, or a storage comes without a name; when called, if Optuna is
            not installed, or the storage cannot be used or holds other ranges under this name.

    Example:
        >>> from jaxresearch.adjust import Round, Trial
        >>> from jaxresearch.hyperparameters import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> plain = Round("plain", (Trial(Rates(), {}, False),), (0.5,))
        >>> proposal = tpe(n=4, learning_rate=(1e-3, 1e-1))((plain,))
        >>> len(proposal.settings), all(1e-3 <= setting.learning_rate <= 1e-1 for setting in proposal.settings)
        (4, True)

    References:
        Bergstra, Bardenet, Bengio and Kegl (2011), Algorithms for hyper-parameter optimization, NeurIPS, section 4.
        Akiba, Sano, Yanase, Ohta and Koyama (2019), Optuna, KDD, section 2 (ask and tell).
        https://arxiv.org/abs/1907.10902
    """
    check_ranges(n, ranges)
    if storage is not None and name is None:
        raise ValueError(
            f"name must be given with a storage; got {_masked(storage)} alone. Pass that of the experiment."
        )

    def adjust(history: History) -> Proposal | None:
        optuna, errors = _optuna()
        plain = history[0].trials[0].hyperparameters
        distributions = _distributions(optuna, ranges, plain)
        tried = _tried(optuna, history, ranges, distributions)
        told = list(tried.values())
        if storage is not None:
            try:
                told = _shared(optuna, storage, name, told, distributions)
            except errors as error:
                told_of = _masked(f"got {storage} ({error})")
                raise ValueError(f"storage must be a database that Optuna can use; {told_of}.") from None
        draws = np.random.default_rng(None if storage else (seed, len(history))).integers(2**32)
        # A setting that was asked for counts as a poor one until it is told, so that a round is no heap of neighbours.
        sampler = optuna.samplers.TPESampler(seed=int(draws), n_startup_trials=n, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(told)
        chosen: dict[str, Any] = {}
        for _ in range(_DRAWS * n):
            fields = _fields(study.ask(distributions).params, ranges, plain)
            if repr(fields) not in tried:
                chosen[repr(fields)] = replaced(plain, fields)
            if len(chosen) == n:
                break
        why = f"{len(chosen)} proposals of TPE for {' and '.join(ranges)}"
        return Proposal(tuple(chosen.values()), why, replayable=storage is None) if chosen else None

    return adjust


def _masked(text: str) -> str:
    """Returns a text without the passwords of the addresses in it."""
    return re.sub(r"(?<=://)\S+(?=@)|(?<=password=)[^&\s]+", "***", text)


def _optuna() -> tuple[Any, tuple[type[Exception], ...]]:
    """Returns the library, quiet, and what it raises where a storage cannot be used."""
    try:
        import optuna
        import sqlalchemy.exc
    except ImportError as error:
        raise ValueError('tpe needs Optuna, which is not installed. Run: pip install "jaxresearch[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna, (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError)


def _distributions(optuna: Any, ranges: dict[str, Any], plain: Any) -> dict[str, Any]:
    """Returns the ranges in Optuna's terms; of a list, the place is chosen."""
    replaced(plain, ranges)
    made = {}
    for name, values in ranges.items():
        if not isinstance(values, tuple):
            made[name] = optuna.distributions.CategoricalDistribution(range(len(values)))
        elif isinstance(getattr(plain, name), int):
            made[name] = optuna.distributions.IntDistribution(*values, log=True)
        else:
            made[name] = optuna.distributions.FloatDistribution(*values, log=True)
    return made


def _fields(params: dict[str, Any], ranges: dict[str, Any], plain: Any) -> dict[str, Any]:
    """Returns the fields that parameters of Optuna stand for."""
    return {
        name: as_field(params[name], getattr(plain, name), *values)
        if isinstance(values, tuple)
        else values[params[name]]
        for name, values in ranges.items()
    }


def _tried(optuna: Any, history: History, ranges: dict[str, Any], distributions: dict[str, Any]) -> dict[str, Any]:
    """Returns Optuna's trials of a history by their fields; what lies outside of the ranges teaches nothing about them."""
    tried = {}
    for trial, score in ((t, s) for made in history[1:] for t, s in zip(made.trials, made.scores, strict=True)):
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
    """Returns whether a range or a list holds a value."""
    return values[0] <= value <= values[1] if isinstance(values, tuple) else value in values


def _shared(optuna: Any, storage: str, name: str | None, own: list[Any], distributions: dict[str, Any]) -> list[Any]:
    """Returns the trials of a storage, after adding those that it does not hold yet."""
    study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True, direction="maximize")
    known = study.get_trials(deepcopy=False)
    if any(trial.distributions != distributions for trial in known):
        raise ValueError(
            f"study {name} in {_masked(storage)} must be over these ranges; it is over others. Give it another name."
        )
    params = [trial.params for trial in known]
    study.add_trials([trial for trial in own if trial.params not in params])
    return study.get_trials(deepcopy=False)

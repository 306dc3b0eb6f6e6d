"""Tuning by Optuna, as a strategy of a study: the one strategy that may keep a database, which several studies share."""

import dataclasses
import math
from typing import Any

import numpy as np

from jaxresearch.adjust import Adjust, History, Proposal, Range, check_ranges


def tpe(*, n: int, seed: int = 0, storage: str | None = None, name: str = "jaxresearch", **ranges: Range) -> Adjust:
    """Returns Optuna's tree-structured Parzen estimator, asked for ``n`` settings at a time and told how they did.

    Without a storage it is a function of the history like the others. With one, several studies (processes, machines) may
    share it: each learns from what all of them have tried, and keeps away from what another one is trying.

    Args:
        n: Settings a round, 1 or more; the first round is drawn at random.
        seed: Of the draws.
        storage: A database that Optuna takes, as ``sqlite:///tune.db``; in memory unless given.
        name: Of the study in the storage.
        **ranges: As for `jaxresearch.adjust.random`.

    Returns:
        A strategy without an end of its own.

    Raises:
        ValueError: If ``n`` is not positive, a range is none, or (when called) Optuna is not installed or the storage cannot
            be used.

    Example:
        >>> from jaxresearch.adjust import Round, Trial
        >>> from jaxresearch.experiment import hyperparameters, swept
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

    def adjust(history: History) -> Proposal:
        optuna, errors = _optuna()
        plain = history[0].trials[0].hyperparameters
        try:
            study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True, direction="maximize")
            distributions = _distributions(optuna, ranges)
            _tell(optuna, study, history, ranges, distributions)
            place = (seed, len(study.get_trials(deepcopy=False)))
            draws = int(np.random.default_rng(place).integers(2**32))
            study.sampler = optuna.samplers.TPESampler(seed=draws, n_startup_trials=n)
            asked = [study.ask(distributions).params for _ in range(n)]
        except errors as error:
            raise ValueError(f"storage must be a database that Optuna can use; got {storage} ({error}).") from error
        settings = tuple(dataclasses.replace(plain, **_values(params, ranges)) for params in asked)
        return Proposal(settings, f"{n} proposals of TPE for {' and '.join(ranges)}")

    return adjust


def _optuna() -> tuple[Any, tuple[type[Exception], ...]]:
    """Returns the library, quiet, and what it raises where a storage cannot be used."""
    try:
        import optuna
        import sqlalchemy.exc
    except ImportError as error:
        raise ValueError('tpe needs Optuna, which is not installed. Run: pip install "jaxresearch[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna, (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError)


def _distributions(optuna: Any, ranges: dict[str, Any]) -> dict[str, Any]:
    """Returns the ranges in Optuna's terms; of a list, the place is chosen."""
    made = {}
    for name, values in ranges.items():
        if isinstance(values, tuple):
            made[name] = optuna.distributions.FloatDistribution(*values, log=True)
        else:
            made[name] = optuna.distributions.CategoricalDistribution(range(len(values)))
    return made


def _values(params: dict[str, Any], ranges: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields that parameters of Optuna stand for; numbers to six digits."""
    return {
        name: float(f"{params[name]:.6g}") if isinstance(values, tuple) else values[params[name]]
        for name, values in ranges.items()
    }


def _tell(optuna: Any, study: Any, history: History, ranges: dict[str, Any], distributions: dict[str, Any]) -> None:
    """Tells a study of Optuna how the trials did that it does not know of; those that diverged have failed."""
    states = optuna.trial.TrialState
    known = study.get_trials(deepcopy=False)
    running = {repr(_values(trial.params, ranges)): trial.number for trial in known if trial.state == states.RUNNING}
    told = {repr(_values(trial.params, ranges)) for trial in known if trial.state != states.RUNNING}
    for made in history[1:]:
        for trial, score in zip(made.trials, made.scores, strict=True):
            fields = {name: getattr(trial.hyperparameters, name) for name in ranges}
            setting = repr(fields)
            if setting in told:
                continue
            told.add(setting)
            how = {"state": states.COMPLETE, "values": [score]} if math.isfinite(score) else {"state": states.FAIL}
            if setting in running:
                study.tell(running[setting], **how)
                continue
            params = {
                name: fields[name] if isinstance(values, tuple) else values.index(fields[name])
                for name, values in ranges.items()
            }
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, **how))

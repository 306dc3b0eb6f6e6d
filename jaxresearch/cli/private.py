"""``--private epsilon=3,delta=1e-5,clip=1``: the mechanism of each setting, its statement, and what it does not cover."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxresearch import data, privacy, studies
from jaxresearch import experiment as experiments
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.loaded import Loaded
from jaxresearch.data import Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.privacy import Mechanism, Unit
from jaxresearch.records.commands import flag
from jaxresearch.studies import Search
from jaxresearch.studies.plan import confirmation_seeds
from jaxresearch.training import Plan

_NAMES = ("epsilon", "noise", "delta", "clip", "per_unit")
_GIVEN = ("--private", "Write: --private epsilon=3,delta=1e-5,clip=1")
_DECLARED = ("Experiment(private=...)", 'Write: private={"epsilon": 3, "delta": 1e-5, "clip": 1}')


class _Rule(NamedTuple):
    """What a number must be (any other word is nan), and the remedy, if it is not the whole option."""

    text: str
    holds: Callable[[float], bool]
    remedy: str = ""


_POSITIVE = _Rule("positive and finite", lambda number: 0 < number < math.inf)
_RULES = {
    "epsilon": _Rule(
        f"above 0 and at most {privacy.LARGEST_EPSILON:g}", lambda number: 0 < number <= privacy.LARGEST_EPSILON
    ),
    "per_unit": _Rule("a whole number from 1", lambda number: number >= 1 and number.is_integer(), "Write per_unit=8."),
}
_EXCLUDED = {
    "folds": "each example would be trained on by several runs",
    "resplit": "each example would be trained on by some of the runs",
    "train_examples": "each seed would draw its own examples",
}


def check_private(options: Any, *, is_declared: bool = False) -> None:
    """Raises for parameters that are missing, unknown or out of range, and for options that break the guarantee.

    Args:
        options: Of the command.
        is_declared: Whether the parameters are those of the experiment, for errors.
    """
    if options.unit is not None:
        _check_unit(options)
    if not options.private:
        return
    given, (source, example) = dict(options.private), _DECLARED if is_declared else _GIVEN
    if "relation" in given or "n_examples" in given:
        raise UsageError(
            f"{source} must not set relation or n_examples, got one: the number of examples sets batches and steps, so it "
            "is public and the relation is zero-out. For add-or-remove, use jaxresearch.privacy from Python."
        )
    if unknown := [name for name in given if name not in _NAMES]:
        raise UsageError(f"{source} takes {', '.join(_NAMES)}; got {unknown[0]}. {example}")
    if {*given} - {"per_unit"} not in ({"epsilon", "delta", "clip"}, {"noise", "delta", "clip"}):
        raise UsageError(
            f"{source} must have delta, clip and either epsilon or noise, got {', '.join(given) or 'nothing'}. {example}"
        )
    for name, text in given.items():
        if not (rule := _RULES.get(name, _POSITIVE)).holds(_number(text)):
            raise UsageError(f"{name} of {source} must be {rule.text}, got {text}. {rule.remedy or example}")
    if "per_unit" in given and options.unit is None:
        raise UsageError(
            f"per_unit needs the column of the units, got per_unit={given['per_unit']} alone. Add --unit COLUMN."
        )
    for name, why in _EXCLUDED.items():
        if getattr(options, name):
            raise UsageError(f"private and {name} are mutually exclusive, got both: {why}. Leave out {flag(name)}.")


def _check_unit(options: Any) -> None:
    """Raises if the unit of privacy does not go with other options."""
    if "per_unit" not in dict(options.private):
        raise UsageError(
            f"--unit needs per_unit, the largest number of examples used of a unit, got {options.unit} without it. Write: "
            "--private epsilon=3,delta=1e-5,clip=1,per_unit=8"
        )
    if options.group not in (None, options.unit):
        raise UsageError(
            f"unit and group must name one column, got {options.unit} and {options.group}: a unit must not be in two parts. "
            "Leave out --group."
        )
    for name in ("time", "contiguous"):
        if getattr(options, name):
            raise UsageError(
                f"unit and {name} are mutually exclusive, got both: a unit must not be in two parts. Leave out {flag(name)}."
            )


def by_unit(experiment: Experiment, options: Any) -> Experiment:
    """Returns the experiment with the training examples of each unit side by side, if the options ask for units.

    Args:
        experiment: As declared.
        options: Of the command, checked.
    """
    unit = _unit(options)
    if unit is None:
        return experiment
    return dataclasses.replace(experiment, arrange=functools.partial(privacy.by_unit, per_unit=unit.per_unit))


def _unit(options: Any) -> Unit | None:
    """Returns the unit of privacy; None for single examples."""
    return None if options.unit is None else Unit(options.unit, int(float(dict(options.private)["per_unit"])))


def privately(experiment: Experiment, options: Any, *, secret: tuple[int, int] | None) -> Experiment:
    """Returns the experiment that trains as the options ask.

    Args:
        experiment: As declared.
        options: With ``private`` set, and checked.
        secret: The key of sampling and noise; None to check shapes only.
    """
    of = functools.partial(_mechanism, options, secret=secret)
    return privacy.private_experiment(experiment, of, n_micro_batches=options.accumulate or 4, name="--private")


def mechanism_of(options: Any) -> Callable[[Plan, int], Mechanism]:
    """Returns the mechanism that the options ask for, without a secret, of a plan and a number of examples."""
    return functools.partial(_mechanism, options, secret=None)


def statement_of(options: Any, experiment: Experiment, loaded: Loaded, settings: tuple[Any, ...]) -> dict[str, Any]:
    """Returns what is guaranteed for each kind of run and for all together, and what is not covered.

    Args:
        options: Of the command.
        experiment: What is trained.
        loaded: Its data.
        settings: Those that are trained, each with all seeds.
    """
    trained = [(setting, loaded.dataset.n_train, len(options.seeds)) for setting in settings]
    not_covered = _not_covered(options, experiment, loaded.dataset, in_sample=loaded.collected.card.in_sample)
    if options.command == "study":
        not_covered.append("runs of the search with other settings, whose epsilon is counted at the end of the study")
    return {**_guarantees(options, trained), "not_covered": not_covered}


def statement_of_study(
    options: Any, experiment: Experiment, search: Search, *, of_search: Dataset, of_result: Dataset
) -> dict[str, Any]:
    """Returns what is guaranteed for all runs of a study together: its search, its confirmation and its result.

    Args:
        options: Of the command.
        experiment: What was searched.
        search: The rounds and the settings that were kept.
        of_search: The data on which settings were compared.
        of_result: The data on which the kept settings were trained.
    """
    baseline, budget, best = options.hyperparameters, options.budget, studies.best_of(experiment, search.history)
    tried = {trial.digest: trial.hyperparameters for one in search.history for trial in one.trials}
    trained = [(setting, of_search.n_train, len(budget.seeds)) for setting in tried.values()]
    if best != baseline:  # both were confirmed
        n_seeds = len(confirmation_seeds(budget))
        trained += [(setting, of_search.n_train, n_seeds) for setting in (best, baseline)]
    kept = dict.fromkeys((search.best, baseline))
    trained += [(setting, of_result.n_train, len(budget.fresh_seeds)) for setting in kept]
    adaptive = "that runs were chosen by results of earlier ones: the total is that of runs fixed in advance"
    not_covered = _not_covered(options, experiment, of_result, in_sample=of_result.card.in_sample)
    return {**_guarantees(options, trained), "not_covered": [*not_covered, adaptive]}


def _guarantees(options: Any, trained: list[tuple[Any, int, int]]) -> dict[str, Any]:
    """Returns the guarantees of settings, each trained on a number of examples with a number of seeds, and of all together."""
    counts: dict[Mechanism, int] = {}
    for setting, n, n_seeds in trained:
        mechanism = _mechanism(options, experiments.plan(setting, n), n, secret=(0, 0))
        counts[mechanism] = counts.get(mechanism, 0) + n_seeds
    stated = [privacy.statement(mechanism, n_runs=n_runs) for mechanism, n_runs in counts.items()]
    delta = stated[0]["delta"]  # --private sets one for all
    together = privacy.joint_epsilon(counts, delta=delta).pld
    total = {"epsilon": together, "delta": delta, "n_runs": sum(counts.values())}
    return {"runs": stated, "all_runs": total}


def _mechanism(options: Any, plan: Plan, n_examples: int, *, secret: tuple[int, int] | None) -> Mechanism:
    """Returns the mechanism of a run with this plan."""
    asked = {name: float(value) for name, value in options.private}
    sizes: dict[str, Any] = {"n_examples": n_examples, "batch_size": plan.batch_size, "n_steps": plan.n_steps}
    sizes |= {"secret": secret, "unit": _unit(options)}
    if "epsilon" in asked:
        return privacy.for_epsilon(epsilon=asked["epsilon"], delta=asked["delta"], clip=asked["clip"], **sizes)
    return Mechanism(noise_multiplier=asked["noise"], delta=asked["delta"], clip=asked["clip"], **sizes)


def _not_covered(options: Any, experiment: Experiment, dataset: Dataset, *, in_sample: bool) -> list[str]:
    """Returns what the command computes from private examples without noise."""
    lines = ["noise.key, with which the noise can be subtracted", "description of the data in config.json"]
    if options.command != "sweep":  # a sweep does not read the test part
        part = "the training examples, which are the test part" if in_sample else "the test part"
        lines.append(f"metrics of {part}")
    if data.numbers(dataset.of_run(0).fitted):
        lines.append("preprocessing fitted on the training part")
    if options.command in ("sweep", "study"):
        lines.append("selection part, held out of the training part")
    if options.validation is not None:
        lines.append("validation part, with all decisions that follow from it")
    if experiment.report is not None and options.command != "sweep":
        lines.append("report of the experiment, which reads all data")
    if options.init_from is not None:
        lines.append("training of the initial parameters")
    return lines


def _number(text: str) -> float:
    """Returns a number, or nan for any other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan

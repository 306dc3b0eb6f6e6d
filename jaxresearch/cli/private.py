"""``--private epsilon=3,delta=1e-5,clip=1``: the mechanism of each setting, its statement, and what it does not cover."""

import functools
from collections.abc import Callable
from typing import Any

from jaxresearch import data, privacy
from jaxresearch import experiment as experiments
from jaxresearch.cli.errors import UsageError
from jaxresearch.data import Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.privacy import Mechanism
from jaxresearch.records.commands import flag
from jaxresearch.training import Plan

_NAMES = ("epsilon", "noise", "delta", "clip")
_EXAMPLE = "Write: --private epsilon=3,delta=1e-5,clip=1"
_EXCLUDED = {
    "folds": "each example would be trained on by several runs",
    "resplit": "each example would be trained on by some of the runs",
    "train_examples": "each seed would draw its own examples",
    "stream": "examples on disk are not sampled independently",
    "mesh": "the places of a batch cannot be split over devices",
    "distributed": "the processes would not share the secret of the noise",
}


def check_private(options: Any) -> None:
    """Raises for parameters that are missing, unknown or out of range, and for options that break the guarantee."""
    if not options.private:
        return
    given = dict(options.private)
    if "relation" in given or "n_examples" in given:
        raise UsageError(
            "private must be given no relation and no n_examples, got one: the number of examples sets batches and steps, so it "
            "is public and the relation is zero-out. For add-or-remove, use jaxresearch.privacy from Python."
        )
    if unknown := [name for name in given if name not in _NAMES]:
        raise UsageError(f"private takes {', '.join(_NAMES)}; got {unknown[0]}. {_EXAMPLE}")
    if {*given} not in ({"epsilon", "delta", "clip"}, {"noise", "delta", "clip"}):
        raise UsageError(
            f"private must be given delta, clip and either epsilon or noise, got {', '.join(given) or 'none'}. {_EXAMPLE}"
        )
    for name, text in given.items():
        number = _number(text)
        if number is None or not 0 < number < float("inf"):
            raise UsageError(f"{name} of --private must be positive and finite, got {text}. {_EXAMPLE}")
    for name, why in _EXCLUDED.items():
        if getattr(options, name):
            raise UsageError(f"private and {name} are mutually exclusive, got both: {why}. Leave out {flag(name)}.")


def privately(experiment: Experiment, options: Any, *, secret: tuple[int, int] | None) -> Experiment:
    """Returns the experiment that trains as the options ask.

    Args:
        experiment: As declared.
        options: With ``private`` set, and checked.
        secret: The key of sampling and noise; None to check shapes only.
    """
    of = functools.partial(_mechanism, options, secret=secret)
    return privacy.private_experiment(experiment, of, n_micro_batches=options.accumulate or 1, name="--private")


def mechanism_of(options: Any) -> Callable[[Plan, int], Mechanism]:
    """Returns the mechanism that the options ask for, without a secret, of a plan and a number of examples."""
    return functools.partial(_mechanism, options, secret=None)


def statement_of(options: Any, dataset: Dataset, settings: tuple[Any, ...]) -> dict[str, Any]:
    """Returns what is guaranteed for each kind of run and for all together, and what is not covered.

    Args:
        options: Of the command.
        dataset: Preprocessed data.
        settings: Those that are trained, each with all seeds.
    """
    n = dataset.n_train
    mechanisms = [_mechanism(options, experiments.plan(setting, n), n, secret=(0, 0)) for setting in settings]
    counts = {one: len(options.seeds) * mechanisms.count(one) for one in mechanisms}
    stated = [privacy.statement(mechanism, n_runs=n_runs) for mechanism, n_runs in counts.items()]
    total = {  # basic composition of groups; within a group, that of the accountant
        "epsilon": sum(one["epsilon_of_all_runs"]["pld"] for one in stated),
        "delta": sum(one["delta"] for one in stated),
        "n_runs": sum(counts.values()),
    }
    return {"runs": stated, "all_runs": total, "not_covered": _not_covered(options, dataset)}


def _mechanism(options: Any, plan: Plan, n_examples: int, *, secret: tuple[int, int] | None) -> Mechanism:
    """Returns the mechanism of a run with this plan."""
    asked = {name: float(value) for name, value in options.private}
    sizes = {"n_examples": n_examples, "batch_size": plan.batch_size, "n_steps": plan.n_steps, "secret": secret}
    if "epsilon" in asked:
        return privacy.for_epsilon(epsilon=asked["epsilon"], delta=asked["delta"], clip=asked["clip"], **sizes)
    return Mechanism(noise_multiplier=asked["noise"], delta=asked["delta"], clip=asked["clip"], **sizes)


def _not_covered(options: Any, dataset: Dataset) -> list[str]:
    """Returns what the command computes from private examples without noise."""
    lines = [
        "noise.key, with which the noise can be subtracted",
        "description of the data in config.json",
        "metrics of the test part",
    ]
    if data.numbers(dataset.of_run(0).fitted):
        lines.append("preprocessing fitted on the training part")
    if options.command == "sweep":
        lines.append("selection part, held out of the training part")
    if options.validation is not None:
        lines.append("validation part, with all decisions that follow from it")
    if options.init_from is not None:
        lines.append("training of the initial parameters")
    return lines


def _number(text: str) -> float | None:
    """Returns a number, or None for any other text."""
    try:
        return float(text)
    except ValueError:
        return None

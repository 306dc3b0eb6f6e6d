"""Options that are out of range, or cannot be combined."""

import math
from typing import Any

from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.private import check_private
from jaxresearch.cli.spelling import pairs_text
from jaxresearch.cli.supervised import HANG_AFTER
from jaxresearch.studies import Budget

MANY_SEEDS = 2**32  # keys are derived from 32 bits


def check_options(options: Any, *, is_private_declared: bool = False) -> None:
    """Raises for values that are out of range or cannot be combined.

    Args:
        options: Of the command.
        is_private_declared: Whether ``private`` is that of the experiment, not of an option.
    """
    if not 0 < options.hang_after < math.inf:
        raise UsageError(f"hang_after must be positive and finite, got {options.hang_after}. Pass {HANG_AFTER:g}.")
    if not options.distributed:
        for name in ("coordinator", "processes", "process"):
            if getattr(options, name) is not None:
                raise UsageError(
                    f"{name} needs --distributed, got {getattr(options, name)} without it. Add --distributed."
                )
    if len(dict(options.mesh)) < len(options.mesh):
        given = pairs_text(options.mesh)
        raise UsageError(f"mesh must name each axis once, got {given}. Write: data=2,fsdp=4")
    if len(dict(options.parameters)) < len(options.parameters):
        given = pairs_text(options.parameters)
        raise UsageError(f"parameters must name each parameter once, got {given}. Write: year=2020,clinic=north")
    if not 0 <= options.save_every < math.inf:
        raise UsageError(f"save_every must be 0 or more seconds and finite, got {options.save_every}. Pass 60.")
    if options.accumulate is not None and options.accumulate < 1:
        raise UsageError(f"accumulate must be 1 or more, got {options.accumulate}. Pass a divisor of the batch size.")
    if options.at_once is not None and options.at_once < 1:
        raise UsageError(f"at_once must be 1 run or more, got {options.at_once}. Leave it out to choose.")
    check_private(options, is_declared=is_private_declared)
    for name in ("rounds", "seconds"):
        value = getattr(options, name)
        if not 0 < value < math.inf:
            raise UsageError(f"{name} must be positive and finite, got {value}. Pass {getattr(Budget(), name)}.")
    if options.command == "plan":
        _check_plan(options)
    if options.command == "audit":
        _check_audit(options)
    rules = [name for name in ("group", "time", "contiguous") if getattr(options, name)]
    if len(rules) > 1:
        raise UsageError(f"{rules[0]} and {rules[1]} are mutually exclusive, got both. Pass one rule of the split.")
    for name in ("unit", "group", "time"):
        if (column := getattr(options, name)) is not None and dict(options.types).get(column) == "drop":
            raise UsageError(
                f"{name} must name a column that is read, got {column} with the type drop. Leave {column}=drop out: the column "
                "is no feature."
            )
    if options.split_seed and (options.time is not None or options.contiguous):
        raise UsageError(
            f"split_seed and {rules[0]} are mutually exclusive, got both. The last examples are held out, not drawn."
        )
    if options.test_fraction is not None and not 0 < options.test_fraction < 1:
        raise UsageError(f"test_fraction must be between 0 and 1, got {options.test_fraction:g}. Pass 0.2.")
    if options.test is not None and options.test_fraction is not None:
        raise UsageError(
            "test and test_fraction are mutually exclusive, got both. The rows of the second file are the test part."
        )
    if options.resplit:
        _check_resplit(options)
    if options.data is None:
        for name in ("folds", "resplit", "train_examples", "target", *options.reading):
            if getattr(options, name):
                raise UsageError(f"{name} must be left out, got {getattr(options, name)}: the experiment has no data.")
    if options.evaluate_every and options.validation is None:
        raise UsageError(f"evaluate_every needs validation data, got {options.evaluate_every}. Pass --validation 0.1.")
    if options.validation is None:
        return
    if options.validation == "own":
        if options.command == "study" or (options.command == "sweep" and options.data is not None):
            raise UsageError(
                f"validation must be a fraction in a {options.command}, which compares settings on the data's own validation "
                "part, got own. Pass --validation 0.1."
            )
        if options.folds:
            raise UsageError(
                "validation must be a fraction of each fold's training part, got own. Pass --validation 0.1."
            )
    elif not 0 < options.validation < 1:
        raise UsageError(
            f"validation must be own or between 0 and 1, got {options.validation:g}. Pass --validation 0.1."
        )


def _check_resplit(options: Any) -> None:
    """Raises for options with which seeds could not draw splits of their own."""
    reasons = {
        "folds": "Folds test each example once; --resplit draws a test part for each seed",
        **dict.fromkeys(("time", "contiguous"), "The last examples are held out, not drawn"),
        "test": "The rows of the second file are the test part of all seeds",
        "split_seed": "Seed i is the split seed of run i",
    }
    for name, reason in reasons.items():
        if getattr(options, name):
            raise UsageError(f"resplit and {name} are mutually exclusive, got both. {reason}. Leave one out.")


def _check_audit(options: Any) -> None:
    """Raises for options with which nothing could be audited."""
    if not options.private:
        raise UsageError("audit needs a claim, got no --private. Write: --private epsilon=8,delta=1e-5,clip=1")
    if not 0 <= options.audit_seed < MANY_SEEDS:
        raise UsageError(f"audit_seed must be between 0 and {MANY_SEEDS - 1}, got {options.audit_seed}. Pass 0.")
    for name in ("canaries", "guesses"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UsageError(f"{name} must be 1 or more, got {getattr(options, name)}. Leave it out to choose.")


def _check_plan(options: Any) -> None:
    """Raises for options with which no step could be planned."""
    sizes = dict(options.mesh)
    if "runs" in sizes:
        raise UsageError(f"mesh must split one run in a plan, got runs={sizes['runs']}. Leave runs out.")
    if options.topology is None and -1 in sizes.values():
        raise UsageError("mesh must have positive sizes in a plan, got -1 without --topology. Write all sizes.")
    if options.largest_batch and options.chip is None and options.hbm is None:
        raise UsageError("largest_batch needs the memory of a device, got none. Pass --chip h100 or --hbm 80GB.")

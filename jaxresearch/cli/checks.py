"""Options that are out of range, or cannot be combined."""

import math
from typing import Any

from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.private import check_private
from jaxresearch.cli.supervised import HANG_AFTER
from jaxresearch.studies import Budget


def check_options(options: Any) -> None:
    """Raises for values that are out of range or cannot be combined."""
    if not 0 < options.hang_after < math.inf:
        raise UsageError(f"hang_after must be positive and finite, got {options.hang_after}. Pass {HANG_AFTER:g}.")
    if not options.distributed:
        for name in ("coordinator", "processes", "process"):
            if getattr(options, name) is not None:
                raise UsageError(
                    f"{name} needs --distributed, got {getattr(options, name)} without it. Add --distributed."
                )
    if not 0 <= options.save_every < math.inf:
        raise UsageError(f"save_every must be 0 or more seconds and finite, got {options.save_every}. Pass 60.")
    if options.accumulate is not None and options.accumulate < 1:
        raise UsageError(f"accumulate must be 1 or more, got {options.accumulate}. Pass a divisor of the batch size.")
    check_private(options)
    for name in ("rounds", "seconds"):
        value = getattr(options, name)
        if not 0 < value < math.inf:
            raise UsageError(f"{name} must be positive and finite, got {value}. Pass {getattr(Budget(), name)}.")
    rules = [name for name in ("group", "time", "contiguous") if getattr(options, name)]
    if len(rules) > 1:
        raise UsageError(f"{rules[0]} and {rules[1]} are mutually exclusive, got both. Pass one rule of the split.")
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

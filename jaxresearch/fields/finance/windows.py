"""Windows of returns: blocks of days to forecast, and the days before them."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxresearch.data.dataset import Dataset, Split, check
from jaxresearch.data.parts import Part
from jaxresearch.data.splits import split
from jaxresearch.fields.finance.prices import load_prices, simple_returns

PADDING = -100.0  # per cent: a return that no positive price has


def return_windows(returns: Float[np.ndarray, " days"], *, length: int, context: int) -> Part:
    """Returns blocks of consecutive days, each with the returns before each of its days.

    An example is a block. Its inputs are the ``context`` days before the block and all its days but the last; an output for
    each input then forecasts the following day, and the last ``length`` outputs the days of the block. Before the first day the
    inputs are `PADDING`. Days that do not fill a block, at the start, are context alone.

    Args:
        returns: In per cent, in order of time.
        length: Days per block, 1 or more.
        context: Days before a block, 1 or more.

    Returns:
        Inputs ``(blocks, context + length - 1)`` and targets ``(blocks, length, 1)``, float32.

    Raises:
        ValueError: If a size is below 1, or there are fewer days than a block has.

    Example:
        >>> part = return_windows(np.arange(5.0), length=2, context=2)
        >>> part["inputs"].tolist(), part["targets"][:, :, 0].tolist()
        ([[-100.0, 0.0, 1.0], [1.0, 2.0, 3.0]], [[1.0, 2.0], [3.0, 4.0]])
    """
    if length < 1 or context < 1:
        raise ValueError(f"length and context must be 1 day or more, got {length} and {context}. Pass 10 and 100.")
    if len(returns) < length:
        raise ValueError(f"returns must fill a block of {length} days, got {len(returns)} days. Add days.")
    padded = np.concatenate([np.full(context, PADDING), returns])
    starts = np.arange(len(returns) % length, len(returns), length)[:, None]
    inputs = padded[starts + np.arange(context + length - 1)]
    targets = np.asarray(returns)[starts + np.arange(length)][:, :, None]
    return {"inputs": inputs.astype(np.float32), "targets": targets.astype(np.float32)}


def load_returns(
    source: str | Path,
    *,
    column: str | None = None,
    length: int = 10,
    context: int = 100,
    group: int = 6,
    fraction: float = 0.3,
) -> Dataset:
    """Returns windows of returns, split by time: the last blocks are the test part.

    The days of a block are one example, and ``group`` consecutive blocks one group, so that intervals over examples are over
    stretches of ``group * length`` days: returns of neighbouring days depend on each other.

    Args:
        source: As for `load_prices`.
        column: As for `load_prices`.
        length: Days per block, 1 or more.
        context: Days before a block that it is forecast from, 1 or more. A test block's may be training days: they are known by
            then.
        group: Blocks per group, 1 or more.
        fraction: Of the blocks that are held out, above 0 and below 1.

    Returns:
        Parts as from `return_windows`, with groups.

    Raises:
        ValueError: As for `load_prices` and `return_windows`; if there are fewer than two groups.

    Example:
        >>> dataset = load_returns("us_indices")
        >>> dataset.train["inputs"].shape, dataset.test["targets"].shape, len(np.unique(dataset.test["groups"]))
        ((354, 109), (149, 10, 1), 25)
    """
    prices = load_prices(source, column=column)
    if group < 1:
        raise ValueError(f"group must be 1 block or more, got {group}. Pass 6.")
    whole = return_windows(simple_returns(prices.closes), length=length, context=context)
    n_blocks = len(whole["targets"])
    if n_blocks <= group:
        raise ValueError(
            f"returns must fill more than {group} blocks of {length} days, to be split by time, got {n_blocks}. Add days."
        )
    whole["groups"] = (np.arange(n_blocks) // group).astype(np.int32)
    rule = Split(by="stretch", fraction=fraction)
    train, test = split(whole, fraction=fraction, seed=0, by=rule.by)
    notes = (*prices.card.notes, f"examples are blocks of {length} days")
    card = dataclasses.replace(prices.card, feature_shape=whole["inputs"].shape[1:], split=rule, notes=notes)
    made = Dataset(train, test, None, card)
    check(made)
    return made

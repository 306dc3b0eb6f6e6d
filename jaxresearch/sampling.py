"""Batch sampling: the examples of a step are a pure function of the key and the step number.

Nothing is stored between steps, and no array as long as the data is ever sorted. So a run can be resumed, split into
chunks, or vmapped over seeds without carrying a permutation.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, UInt32

from jaxresearch import devices
from jaxresearch.data.parts import Streams, n_examples

_ROUNDS = 8  # four already decorrelate neighbours (tests/test_sampling.py); eight leave a margin and cost nothing
_WIDTH = 32  # of the rows in which included examples are found; 64 and 16 take longer


jax.tree_util.register_pytree_with_keys(
    Streams,
    lambda streams: ([(jax.tree_util.DictKey(name), part) for name, part in streams.items()], tuple(streams)),
    lambda names, parts: Streams(zip(names, parts, strict=True)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Poisson:
    """Batches that include each example with the same probability, independently of all others.

    A batch has ``capacity`` places for its random number of examples. It is a `PoissonBatch` with ``weights`` of 1 for examples
    and 0 for empty places. If more examples are drawn than there are places, those with the largest indices are left out.

    Attributes:
        rate: The probability, above 0 and at most 1. It is rounded down to a multiple of 2**-32.
        capacity: Number of places, at least 1. Devices that split a batch need a multiple of their number.
        n_examples: The largest number of examples in the data.
        is_exact: Whether the data must hold as many, and not fewer.
        secret: Two 32-bit words that determine the draws together with the run's key; None to use the run's key alone.
    """

    rate: int | float
    capacity: int
    n_examples: int
    is_exact: bool = False
    secret: tuple[int, int] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be above 0 and at most 1, got {self.rate}. Pass batch_size / n_examples.")
        if self.capacity < 1:
            raise ValueError(
                f"capacity must be 1 or more, got {self.capacity}. Pass n_examples to leave no example out."
            )


class PoissonBatch(dict):
    """A batch drawn by Poisson sampling, which records how it was drawn.

    Attributes:
        sampling: The `Poisson` sampling.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> sampling = Poisson(rate=0.5, capacity=3, n_examples=4)
        >>> batch = batch_of(jax.random.key(0), {"inputs": jnp.arange(4)}, jnp.int32(0), batch_size=sampling)
        >>> batch.sampling == sampling, sorted(batch)
        (True, ['inputs', 'weights'])
    """

    def __init__(self, entries: Any, sampling: Poisson):
        super().__init__(entries)
        self.sampling = sampling


jax.tree_util.register_pytree_with_keys(
    PoissonBatch,
    lambda batch: (
        [(jax.tree_util.DictKey(name), batch[name]) for name in sorted(batch)],
        (tuple(sorted(batch)), batch.sampling),
    ),
    lambda static, entries: PoissonBatch(zip(static[0], entries, strict=True), static[1]),
)


def batch_of(key: Key[Array, ""], data: Any, step: Int[Array, ""], *, batch_size: int | Poisson) -> Any:
    """Returns the batch of a step.

    Args:
        key: Key of the data order, the same for all steps.
        data: Arrays with equal leading axes, `Streams` of them, or ``{}``.
        step: Number of steps taken so far.
        batch_size: Examples per step, of each stream; or Poisson sampling.

    Returns:
        The same structure with a leading axis of ``batch_size``; ``{}`` for ``{}``. With Poisson sampling, a `PoissonBatch`.

    Raises:
        ValueError: If the arrays differ in length, ``batch_size`` is out of range, or Poisson sampling is requested for streams,
            weighted data, no data or another number of examples than it allows.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> batch_of(jax.random.key(0), {"inputs": jnp.ones((6, 2))}, jnp.int32(0), batch_size=2)["inputs"].shape
        (2, 2)
    """
    if isinstance(batch_size, Poisson):
        return _poisson_batch(key, data, step, batch_size)
    if isinstance(data, Streams):
        parts = enumerate(data.items())
        return {
            name: batch_of(jax.random.fold_in(key, i), part, step, batch_size=batch_size) for i, (name, part) in parts
        }
    if not data:
        return {}
    indices = batch_indices(key, step, n_examples=n_examples(data), batch_size=batch_size)
    # The indices are in bounds by construction: no clamping.
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).at[indices].get(mode="promise_in_bounds"), data)


def poisson_mask(
    key: Key[Array, ""],
    step: Int[Array, ""],
    *,
    n_examples: int,
    rate: int | float,
    secret: tuple[int, int] | None = None,
) -> Bool[Array, " examples"]:
    """Returns which examples a step includes: each with the same probability, independently.

    Args:
        key: Key of the data order, the same for all steps.
        step: Number of steps taken so far.
        n_examples: Number of examples.
        rate: The probability, above 0 and at most 1; rounded down to a multiple of 2**-32.
        secret: As in `Poisson`.

    Returns:
        True for the examples included.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> int(poisson_mask(jax.random.key(0), jnp.int32(0), n_examples=5, rate=1.0).sum())
        5
    """
    if rate == 1:
        return jnp.ones(n_examples, bool)
    bits = jax.random.bits(jax.random.fold_in(keyed(key, secret=secret), step), (n_examples,), jnp.uint32)
    return bits < jnp.uint32(math.floor(rate * 2**32))


def keyed(key: Key[Array, ""], *, secret: tuple[int, int] | None) -> Key[Array, ""]:
    """Returns a key derived from a secret and another key; knowing only the other key is not enough to repeat its draws.

    Args:
        key: Any key.
        secret: Two 32-bit words; None for the key itself.

    Returns:
        A key of the generator threefry2x32; without a secret, the key itself.

    Example:
        >>> import jax
        >>> keyed(jax.random.key(0), secret=(1, 2)) == keyed(jax.random.key(0), secret=(1, 3))
        Array(False, dtype=bool)
    """
    if secret is None:
        return key
    words = jax.random.key_data(key)
    derived = jax.random.wrap_key_data(jnp.array(secret, jnp.uint32), impl="threefry2x32")
    for i in range(words.shape[-1]):
        derived = jax.random.fold_in(derived, words[i])
    return derived


def permuted_index(key: Key[Array, ""], index: Int[Array, "*shape"], *, n_examples: int) -> Int[Array, "*shape"]:
    """Returns the entry of a random permutation of ``0 .. n_examples - 1`` at each position of ``index``.

    `jax.random.permutation` sorts random numbers: for 60,000 examples that takes 23 ms on one CPU core, about a tenth of an
    epoch of a small network, and a single entry costs the whole permutation. Here each entry is computed
    independently, by a Feistel network on pairs ``(left, right)`` of digits in base ``side = ceil(sqrt(n))``::

        left, right <- right, (left + hash(right, round key)) mod side

    Each round is invertible, so the network permutes ``side**2`` numbers. An entry outside ``0 .. n - 1`` passes through
    the network again until it falls inside ("cycle walking"), which preserves the permutation.

    Args:
        key: Selects the permutation; keys are 64 bits, so at most 2**64 of the n! orders can occur.
        index: Positions, 0 to ``n_examples - 1``.
        n_examples: Number of examples, 1 to 2**31 - 1.

    Returns:
        Indices of examples, int32, each in 0 to ``n_examples - 1``.

    Raises:
        ValueError: If ``n_examples`` is outside its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> order = permuted_index(jax.random.key(0), jnp.arange(10), n_examples=10)
        >>> sorted(order.tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

    References:
        Black and Rogaway (2002), Ciphers with arbitrary finite domains, CT-RSA, section 4 (cycle walking) and 5
        (generalised Feistel). https://doi.org/10.1007/3-540-45760-7_9
    """
    if not 1 <= n_examples < 2**31:
        raise ValueError(f"n_examples must be from 1 to 2**31 - 1, got {n_examples}. Pass the length of the data.")
    side = math.isqrt(n_examples - 1) + 1
    round_keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def encrypt(number: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
        left, right = number // side, number % side
        for i in range(_ROUNDS):
            left, right = right, (left + _hash(right ^ round_keys[i]) % side) % side
        return left * side + right

    def walk(number: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
        return jnp.where(number >= n_examples, encrypt(number), number)

    start = devices.whole(encrypt(index.astype(jnp.uint32)))
    end = jax.lax.while_loop(lambda number: jnp.any(number >= n_examples), walk, start)
    return devices.whole(end).astype(jnp.int32)


def batch_indices(
    key: Key[Array, ""], step: Int[Array, ""], *, n_examples: int, batch_size: int
) -> Int[Array, " batch"]:
    """Returns the indices of the examples in step ``step`` of a run.

    Epoch ``e`` visits the examples without replacement, in the order drawn from ``fold_in(key, e)``. It skips the last
    ``n_examples % batch_size`` examples of that order.

    Args:
        key: Key of the data order, the same for all steps.
        step: Number of steps taken so far, 0 or more.
        n_examples: Number of examples in the data.
        batch_size: Examples per step, 1 to ``n_examples``.

    Returns:
        Indices of examples, int32.

    Raises:
        ValueError: If ``batch_size`` is outside its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> steps = [batch_indices(jax.random.key(0), jnp.asarray(t), n_examples=6, batch_size=2) for t in range(3)]
        >>> sorted(jnp.concatenate(steps).tolist())
        [0, 1, 2, 3, 4, 5]
    """
    steps = steps_per_epoch(n_examples, batch_size=batch_size)
    position = (step % steps) * batch_size + jnp.arange(batch_size)
    return permuted_index(jax.random.fold_in(key, step // steps), position, n_examples=n_examples)


def steps_per_epoch(n_examples: int, *, batch_size: int) -> int:
    """Returns the number of whole batches in the data.

    Args:
        n_examples: Number of examples in the data.
        batch_size: Examples per step, 1 to ``n_examples``.

    Returns:
        ``n_examples // batch_size``, at least 1.

    Raises:
        ValueError: If ``batch_size`` is not from 1 to ``n_examples``.

    Example:
        >>> steps_per_epoch(60_000, batch_size=32)
        1875
    """
    if not 1 <= batch_size <= n_examples:
        raise ValueError(
            f"batch_size must be between 1 and {n_examples}, got {batch_size}. Pass a batch no larger than the training data."
        )
    return n_examples // batch_size


def _poisson_batch(key: Key[Array, ""], data: Any, step: Int[Array, ""], sampling: Poisson) -> PoissonBatch:
    """Returns the batch of a step by Poisson sampling."""
    n = 0 if isinstance(data, Streams) else n_examples(data)
    if isinstance(data, Streams) or not data or "weights" in data:
        what = "weights" if n else "none" if not data else "streams"
        raise ValueError(
            f"data must be a single part without weights for Poisson sampling, got {what}. Pass one dict of arrays "
            "without weights."
        )
    if n > sampling.n_examples or (sampling.is_exact and n < sampling.n_examples):
        rule = "exactly" if sampling.is_exact else "at most"
        raise ValueError(
            f"data must hold {rule} the {sampling.n_examples} examples that Poisson sampling was set up for, got {n}. Pass the "
            "number of examples, or of units, as n_examples."
        )
    mask = poisson_mask(key, step, n_examples=n, rate=sampling.rate, secret=sampling.secret)
    indices = _first_included(mask, sampling.capacity)
    # Empty places hold the last example, with a weight of 0.
    examples = jax.tree.map(lambda leaf: jnp.asarray(leaf).at[indices].get(mode="clip"), data)
    return PoissonBatch({**examples, "weights": (indices < n).astype(jnp.float32)}, sampling)


def _first_included(mask: Bool[Array, " examples"], n_places: int) -> Int[Array, " places"]:
    """Returns the indices of the first examples that a mask includes, then the length of the mask in the places left.

    It is `jnp.nonzero` with a size, in a tenth of its time on a CPU: row by row, then within the rows that are needed.
    """
    rows = jnp.pad(mask, (0, -len(mask) % _WIDTH)).reshape(-1, _WIDTH)
    ends, place = jnp.cumsum(rows.sum(axis=1)), jnp.arange(n_places)
    row = jnp.searchsorted(ends, place, side="right")
    rank = place - jnp.where(row > 0, ends[row - 1], 0)  # among the included examples of the row
    counts = jnp.cumsum(rows.at[row].get(mode="clip"), axis=1)
    column = jnp.sum(counts <= rank[:, None], axis=1)
    return jnp.where(row < len(rows), row * _WIDTH + column, len(mask))


def _hash(number: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Mixes 32 bits so that each output bit depends on each input bit (Ellis, hash function prospector, lowbias32)."""
    number = (number ^ (number >> 16)) * jnp.uint32(0x7FEB352D)
    number = (number ^ (number >> 15)) * jnp.uint32(0x846CA68B)
    return number ^ (number >> 16)

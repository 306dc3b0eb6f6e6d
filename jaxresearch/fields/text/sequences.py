"""Sequences of token ids as rectangular arrays for models; NumPy on the host."""

from collections.abc import Collection, Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int

from jaxresearch.fields.text.tokenisers import Tokeniser

Side = Literal["left", "right"]
_NOTHING = -1  # the target where no token is predicted


def pad(
    sequences: Sequence[Any], *, padding: int, length: int | None = None, side: Side = "right"
) -> Int[np.ndarray, "rows length"]:
    """Returns sequences of different lengths as rows of one length.

    ==============  ==========================================
    a sequence      becomes
    ==============  ==========================================
    shorter         filled up with ``padding`` on ``side``
    longer          cut on ``side``
    ==============  ==========================================

    Args:
        sequences: One or more lists or arrays of token ids.
        padding: The id to pad with.
        length: Tokens per row, 1 or more; by default those of the longest sequence.
        side: ``"right"`` for documents that a model reads, ``"left"`` for prompts that a decoder continues.

    Returns:
        Token ids, int32.

    Raises:
        ValueError: If there is no sequence, the length is below 1 or ``side`` is neither.

    Example:
        >>> pad([[1, 2, 3], [4]], padding=0).tolist(), pad([[1, 2, 3], [4]], padding=0, length=2, side="left").tolist()
        ([[1, 2, 3], [4, 0, 0]], [[2, 3], [0, 4]])
    """
    if side not in get_args(Side):
        raise ValueError(f"side must be left or right, got {side!r}. Pass left for the prompts of a decoder.")
    if not len(sequences):
        raise ValueError("sequences must hold at least one sequence, got none. Pass [[]] for an empty one.")
    length = max(map(len, sequences)) if length is None else length
    if length < 1:
        raise ValueError(f"length must be 1 or more, got {length}. Pass the number of tokens per row.")
    rows = np.full((len(sequences), length), padding, np.int32)
    for row, sequence in zip(rows, sequences, strict=True):
        n = min(len(sequence), length)
        if n and side == "left":
            row[-n:] = sequence[-n:]
        elif n:
            row[:n] = sequence[:n]
    return rows


def record_stream(
    tokeniser: Tokeniser, columns: Sequence[Collection[str]], *, ends: Sequence[int]
) -> Int[np.ndarray, " tokens"]:
    """Returns records as one text: the columns of each record in order, each followed by its own special token.

    The stream starts with the last of ``ends``, as if another record came before, so that the first record has a start as well.

    Args:
        tokeniser: Encodes the texts.
        columns: One or more columns of texts, equally long.
        ends: The id that ends the texts of each column; the last one ends a record.

    Returns:
        Token ids, int32.

    Raises:
        ValueError: If there is no column, the columns differ in length, or ``ends`` differ from them in number.

    Example:
        >>> from jaxresearch.fields.text import byte_tokeniser
        >>> record_stream(byte_tokeniser(specials=("<A>", "<B>")), [["a", "b"], ["A", "B"]], ends=(256, 257)).tolist()
        [257, 97, 256, 65, 257, 98, 256, 66, 257]
    """
    if not len(columns) or len({len(column) for column in columns}) != 1:
        raise ValueError(
            f"columns must be one or more, equally long, got lengths {[*map(len, columns)]}. Pass a text per record in each."
        )
    if len(ends) != len(columns):
        raise ValueError(f"ends must hold one token for each of {len(columns)} columns, got {len(ends)}. Pass as many.")
    pieces = [[ends[-1]]]
    for record in zip(*columns, strict=True):
        for one, end in zip(record, ends, strict=True):
            pieces += [tokeniser.encode(one), [end]]
    return np.concatenate(pieces).astype(np.int32)


def next_token_windows(
    stream: Int[np.ndarray, " tokens"], *, length: int, padding: int, drop_last: bool = False, overlap: int = 0
) -> dict[str, Int[np.ndarray, "windows length"]]:
    """Returns a text cut into windows, each with its text shifted by one token as targets: examples for a decoder.

    Every token except the first is a target exactly once. Windows that overlap evaluate a decoder better: in adjacent ones, the
    first tokens of each are predicted from almost nothing.

    Args:
        stream: Ids of the tokens of one long text, 2 or more.
        length: Tokens per window, 1 or more.
        padding: The id that pads the inputs of the last window; the targets there are -1, which are not scored.
        drop_last: Whether to leave out an incomplete last window, as is usual in training.
        overlap: Tokens that a window repeats from the end of the one before, as context that is not scored; 0 to below
            ``length``.

    Returns:
        ``inputs`` and ``targets``, both int32.

    Raises:
        ValueError: If the length is below 1, the overlap out of range, or the text too short for one window.

    Example:
        >>> windows = next_token_windows(np.arange(6), length=3, padding=9)
        >>> windows["inputs"].tolist(), windows["targets"].tolist()
        ([[0, 1, 2], [3, 4, 9]], [[1, 2, 3], [4, 5, -1]])
        >>> windows = next_token_windows(np.arange(6), length=3, padding=9, overlap=1)
        >>> windows["inputs"].tolist(), windows["targets"].tolist()
        ([[0, 1, 2], [2, 3, 4]], [[1, 2, 3], [-1, 4, 5]])
    """
    if length < 1:
        raise ValueError(f"length must be 1 or more, got {length}. Pass the number of tokens per window.")
    if not 0 <= overlap < length:
        raise ValueError(f"overlap must be from 0 to {length - 1}, below the length, got {overlap}. Pass length // 2.")
    n_targets = len(stream) - 1
    needed = length if drop_last else 1
    if n_targets < needed:
        raise ValueError(
            f"stream must hold {needed + 1} tokens or more, got {len(stream)}. Pass a longer text, or shorter windows."
        )
    more, stride = max(n_targets - length, 0), length - overlap
    n_windows = 1 + (more // stride if drop_last else -(-more // stride))
    place = stride * np.arange(n_windows)[:, None] + np.arange(length)[None]
    is_filler, place = place >= n_targets, np.minimum(place, n_targets - 1)
    targets = np.where(is_filler, _NOTHING, stream[place + 1]).astype(np.int32)
    targets[1:, :overlap] = _NOTHING
    return {"inputs": np.where(is_filler, padding, stream[place]).astype(np.int32), "targets": targets}

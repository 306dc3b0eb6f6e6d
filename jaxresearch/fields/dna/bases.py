"""DNA as arrays: bases as small integers, k-mers and windows; NumPy on the host."""

import itertools
from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

AMBIGUOUS = 4  # an IUPAC letter for several bases
_UNKNOWN = 5  # not an IUPAC letter
_CODES = bytearray([_UNKNOWN]) * 256
for _code, _symbols in enumerate((b"Aa", b"Cc", b"Gg", b"TtUu", b"RrYySsWwKkMmBbDdHhVvNn")):
    for _symbol in _symbols:
        _CODES[_symbol] = _code
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)
_LARGEST_K = 15  # 4**15 + 1 tokens still fit int32


def bases(sequence: str, *, name: str = "sequence") -> Int[np.ndarray, " length"]:
    """Returns a sequence as numbers: A 0, C 1, G 2, T (or U) 3, and 4 for any IUPAC letter for several bases.

    Args:
        sequence: IUPAC letters in either case.
        name: Its name in an error message.

    Returns:
        Bases, int8.

    Raises:
        ValueError: If a letter is not in the IUPAC code; positions count from 1.

    Example:
        >>> bases("ACGTUacgtN").tolist()
        [0, 1, 2, 3, 3, 0, 1, 2, 3, 4]

    References:
        NC-IUB (1985), Nomenclature for incompletely specified bases in nucleic acid sequences, Nucleic Acids Res. 13(9).
        https://doi.org/10.1093/nar/13.9.3021
    """
    codes = sequence.encode("ascii", "replace").translate(_CODES)  # one byte per letter, "?" for anything outside ASCII
    place = codes.find(_UNKNOWN)
    if place >= 0:
        raise ValueError(
            f"{name} must hold nucleotide letters (IUPAC) alone; got {sequence[place]!r} at position {place + 1}. "
            "Remove gaps and stops, and fix other letters."
        )
    return np.frombuffer(codes, np.int8).copy()


def letters(bases: Integer[np.ndarray, " length"]) -> str:
    """Returns numbers as a sequence, the inverse of `bases`; 4 becomes N.

    Args:
        bases: 0 to 4, of one sequence.

    Returns:
        Letters of ACGTN.

    Raises:
        ValueError: If the bases are not one sequence of integers from 0 to 4.

    Example:
        >>> letters(bases("acgur"))
        'ACGTN'
    """
    bases = _checked(bases)
    if bases.ndim != 1:
        raise ValueError(f"bases must be one sequence (length,); got shape {bases.shape}. Pass one row at a time.")
    return _LETTERS[bases].tobytes().decode()


def reverse_complement(bases: Any) -> Any:
    """Returns the reverse complement: A and T, C and G exchanged, in reverse order.

    Args:
        bases: 0 to 4, ``(..., length)``; a NumPy or JAX array.

    Returns:
        Bases of the same kind, shape and dtype; 4 stays 4.

    Example:
        >>> letters(reverse_complement(bases("AACGN")))
        'NCGTT'
    """
    return ((8 - bases) % 5)[..., ::-1]  # 0 1 2 3 4 -> 3 2 1 0 4, without a negative number, so for unsigned types too


def kmers(bases: Integer[np.ndarray, "*batch length"], *, k: int, stride: int = 1) -> Int[np.ndarray, "*batch windows"]:
    """Returns the k-mers of sequences as tokens: ``sum_i base_i 4**(k - 1 - i)``, the first base most significant.

    Args:
        bases: 0 to 4.
        k: Bases per token, 1 to 15.
        stride: Bases from one token to the next, 1 or more; bases after the last whole k-mer are left out.

    Returns:
        Tokens, int32: 0 to ``4**k - 1``, and ``4**k`` where a base is ambiguous.

    Raises:
        ValueError: If ``k`` or ``stride`` is out of range, a sequence is shorter than ``k``, or a base is not 0 to 4.

    Example:
        >>> kmers(bases("AACGNA"), k=2).tolist()
        [0, 1, 6, 16, 16]
    """
    bases = _checked(bases)
    _require_k(k)
    _require_stride(stride)
    length = bases.shape[-1]
    if length < k:
        raise ValueError(f"sequences must be k = {k} bases or longer; got {length}. Pass longer ones, or a smaller k.")
    places = [bases[..., i : length - k + 1 + i : stride] for i in range(k)]
    tokens, ambiguous = np.zeros(places[0].shape, np.int32), np.zeros(places[0].shape, bool)
    for place in places:
        tokens = 4 * tokens + (place & 3).astype(np.int32)  # wide and unsigned bases would widen them
        ambiguous |= place == AMBIGUOUS
    return np.where(ambiguous, np.int32(4**k), tokens)


def encode(sequences: Collection[str], *, k: int, stride: int | None = None) -> Int[np.ndarray, "n tokens"]:
    """Returns sequences of letters as rows of k-mer tokens.

    Args:
        sequences: One or more of equal length, in IUPAC letters.
        k: Bases per token, 1 to 15.
        stride: Bases from one token to the next, 1 or more; ``k`` (adjacent tokens) by default.

    Returns:
        Tokens as returned by `kmers`, int32.

    Raises:
        ValueError: If there is no sequence or their lengths differ, or as for `bases` and `kmers`.

    Example:
        >>> encode(["AACG", "acgt"], k=2).tolist()
        [[0, 6], [1, 11]]
    """
    lengths = {len(sequence) for sequence in sequences}
    if len(lengths) != 1:
        got = f"lengths from {min(lengths)} to {max(lengths)}" if lengths else "none"
        raise ValueError(f"sequences must be one or more of equal length, got {got}. Cut them with dna.windows.")
    return kmers(np.stack([bases(sequence) for sequence in sequences]), k=k, stride=k if stride is None else stride)


def kmer_names(k: int) -> tuple[str, ...]:
    """Returns the names of the tokens of `kmers` in order; the last, for an ambiguous base, is N repeated k times.

    Args:
        k: Bases per token, 1 to 15; there are ``4**k + 1`` names.

    Returns:
        Words of k letters.

    Raises:
        ValueError: If ``k`` is out of range.

    Example:
        >>> kmer_names(1), kmer_names(2)[6]
        (('A', 'C', 'G', 'T', 'N'), 'CG')
    """
    _require_k(k)
    return (*map("".join, itertools.product("ACGT", repeat=k)), "N" * k)


def kmer_bases(tokens: Integer[np.ndarray, "*batch windows"], *, k: int) -> Int[np.ndarray, "*batch length"]:
    """Returns the concatenated bases of the tokens: the inverse of `kmers` with ``stride=k``.

    Args:
        tokens: 0 to ``4**k - 1``; any other becomes k ambiguous bases.
        k: Bases per token, 1 to 15.

    Returns:
        Bases, int8, k for each token.

    Raises:
        ValueError: If ``k`` is out of range.

    Example:
        >>> letters(kmer_bases(kmers(bases("AACGNA"), k=2, stride=2), k=2))
        'AACGNN'
    """
    _require_k(k)
    tokens = np.asarray(tokens)[..., None]
    digits = tokens // 4 ** np.arange(k - 1, -1, -1) % 4
    made = np.where((tokens >= 0) & (tokens < 4**k), digits, AMBIGUOUS).astype(np.int8)
    return made.reshape(*made.shape[:-2], made.shape[-2] * k)


def windows(
    bases: Integer[np.ndarray, " length"], *, length: int, stride: int | None = None
) -> Integer[np.ndarray, "windows width"]:
    """Returns windows of one sequence, one per row; a remainder at its end is dropped.

    Args:
        bases: One sequence, of bases or tokens.
        length: Bases per window, 1 or more.
        stride: Bases from the start of a window to the next, 1 or more; ``length`` (adjacent windows) by default.

    Returns:
        A read-only view of the sequence: overlapping windows take no memory.

    Raises:
        ValueError: If ``length`` or ``stride`` is out of range, or the sequence is shorter than a window.

    Example:
        >>> windows(np.arange(7), length=3).tolist(), windows(np.arange(5), length=3, stride=2).tolist()
        ([[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [2, 3, 4]])
    """
    if length < 1:
        raise ValueError(f"length must be 1 or more; got {length}. Pass the number of bases in a window.")
    stride = length if stride is None else stride
    _require_stride(stride)
    if bases.ndim != 1 or len(bases) < length:
        raise ValueError(
            f"bases must be one sequence of {length} or more; got shape {bases.shape}. Pass a longer one, or shorter windows."
        )
    return np.lib.stride_tricks.sliding_window_view(bases, length)[::stride]


def duplicates(
    sequences: Integer[np.ndarray, "n length"], known: Integer[np.ndarray, "m length"]
) -> Bool[np.ndarray, " n"]:
    """Returns which sequences also occur among others, such as test examples in the training part.

    Args:
        sequences: Rows of bases or tokens.
        known: Rows of the same length to search.

    Returns:
        One boolean per sequence.

    Raises:
        ValueError: If the rows differ in length.

    Example:
        >>> duplicates(np.array([[0, 1], [2, 3]]), np.array([[2, 3], [3, 3]])).tolist()
        [False, True]
    """
    if sequences.ndim != 2 or known.ndim != 2 or sequences.shape[1] != known.shape[1]:
        raise ValueError(
            f"sequences and known must be rows of equal length, got shapes {sequences.shape} and {known.shape}. "
            "Cut both alike."
        )
    seen = {row.tobytes() for row in known.astype(np.int64)}
    return np.array([row.tobytes() in seen for row in sequences.astype(np.int64)], bool)


def kmer_counts(bases: Integer[np.ndarray, "n length"], *, k: int) -> Float[np.ndarray, "n tokens"]:
    """Returns the number of occurrences of each k-mer in each sequence, leaving out those with an ambiguous base.

    Args:
        bases: 0 to 4; shorter sequences may be padded with 4.
        k: Bases per k-mer, 1 to 15; a row takes ``4**k`` floats.

    Returns:
        Counts ``(n, 4**k)``, float32.

    Raises:
        ValueError: If the bases are not ``(n, length)``, or as for `kmers`.

    Example:
        >>> kmer_counts(bases("AACNAA")[None], k=1).tolist()
        [[4.0, 1.0, 0.0, 0.0]]
    """
    if bases.ndim != 2:
        raise ValueError(f"bases must have shape (n, length); got {bases.shape}. Pass one sequence as bases[None].")
    tokens = kmers(bases, k=k)
    counts = np.empty((len(bases), 4**k), np.float32)
    for row, of_row in enumerate(tokens):
        counts[row] = np.bincount(of_row, minlength=4**k + 1)[:-1]
    return counts


def _checked(bases: np.ndarray) -> np.ndarray:
    """Returns the bases as an array, or raises if they are not integers from 0 to 4."""
    bases = np.asarray(bases)
    if bases.dtype.kind not in "iu" or not bases.ndim or (bases.size and not 0 <= bases.min() <= bases.max() <= 4):
        raise ValueError(
            f"bases must be integers from 0 to 4, of one axis or more; got {bases.dtype} of shape {bases.shape}. "
            "Make them with dna.bases."
        )
    return bases


def _require_k(k: int) -> None:
    """Raises if k-mers do not fit into int32."""
    if not 1 <= k <= _LARGEST_K:
        raise ValueError(f"k must be from 1 to {_LARGEST_K}; got {k}. Take 6 for 4,096 tokens.")


def _require_stride(stride: int) -> None:
    """Raises if a stride is not positive."""
    if stride < 1:
        raise ValueError(f"stride must be 1 or more; got {stride}. Pass the bases from one start to the next.")

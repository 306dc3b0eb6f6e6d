"""Amino acids and states of secondary structure as small integers, and the reduction of eight states to three."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

RESIDUES = "ARNDCQEGHILKMFPSTWYV"  # the amino acids in the order of their numbers
UNKNOWN, MASK, PADDING = 20, 21, 22  # tokens of any other amino acid, a hidden residue, and no residue
N_TOKENS = 23
STATES = "HGIEBTSC"  # DSSP: three helices, strand, bridge, turn, bend, and the rest
_OTHER = "XUOBZJ"  # unknown, selenocysteine, pyrrolysine, and letters for two amino acids
_THREE = np.array([0, 0, 0, 1, 1, 2, 2, 2])
_COIL = "C- "  # DSSP leaves the rest blank; files write it in these ways
_INVALID = 255
UNLIKE = _OTHER.replace("X", "")  # letters of amino acids that are read as `UNKNOWN`, as X is


def _table(codes: dict[str, int]) -> bytes:
    """Returns the number of each byte."""
    table = bytearray([_INVALID]) * 256
    for letter, code in codes.items():
        table[ord(letter)] = table[ord(letter.lower())] = code
    return bytes(table)


_OF_RESIDUE = _table({**dict.fromkeys(_OTHER, UNKNOWN), **{letter: code for code, letter in enumerate(RESIDUES)}})
_OF_STATE = _table({**dict.fromkeys(_COIL, STATES.index("C")), **{state: code for code, state in enumerate(STATES)}})


def residues(sequence: str, *, name: str = "sequence") -> Int[np.ndarray, " length"]:
    """Returns an amino-acid sequence as numbers: 0 to 19 in the order of `RESIDUES`, and 20 for any other amino acid.

    Args:
        sequence: One-letter codes in either case; X, B, Z, J, U and O are other amino acids.
        name: Its name in an error message.

    Returns:
        Residues, int8.

    Raises:
        ValueError: If it is no string, there is no residue, or a letter is no amino acid; positions count from 1.

    Example:
        >>> residues("ARNvX").tolist()
        [0, 1, 2, 19, 20]

    References:
        IUPAC-IUB (1984), Nomenclature and symbolism for amino acids and peptides, Eur. J. Biochem. 138, section 3AA-21.
        https://doi.org/10.1111/j.1432-1033.1984.tb07877.x
    """
    return _numbers(sequence, _OF_RESIDUE, name, f"amino acids ({RESIDUES}, or X for another)")


def states(structure: str, *, name: str = "structure") -> Int[np.ndarray, " length"]:
    """Returns the secondary structure of a chain as numbers, 0 to 7 in the order of `STATES`.

    ======  =================  ======  =================
    state   by DSSP            state   by DSSP
    ======  =================  ======  =================
    H       alpha helix        B       isolated bridge
    G       3-10 helix         T       turn
    I       pi helix           S       bend
    E       extended strand    C       none of them
    ======  =================  ======  =================

    Args:
        structure: A letter for each residue; C may be written as ``-`` or a blank.
        name: Its name in an error message.

    Returns:
        States, int8.

    Raises:
        ValueError: If it is no string, there is no residue, or a letter is no state; positions count from 1.

    Example:
        >>> states("HHE-C").tolist()
        [0, 0, 3, 7, 7]

    References:
        Kabsch and Sander (1983), Dictionary of protein secondary structure, Biopolymers 22(12).
        https://doi.org/10.1002/bip.360221211
    """
    return _numbers(structure, _OF_STATE, name, f"states of DSSP ({STATES})")


def _numbers(text: str, table: bytes, name: str, expected: str) -> Int[np.ndarray, " length"]:
    """Returns the numbers of letters; raises at the first that has none."""
    if not isinstance(text, str):
        raise ValueError(
            f"{name} must be a string, got {'None' if text is None else type(text).__name__}. Fill it in or drop the chain."
        )
    codes = text.encode("ascii", "replace").translate(table)  # one byte per letter, "?" for anything outside ASCII
    place = codes.find(_INVALID)
    if place >= 0:
        raise ValueError(
            f"{name} must hold {expected} alone, got {text[place]!r} at position {place + 1}. Correct it or drop the chain."
        )
    if not codes:
        raise ValueError(f"{name} must hold {expected}, got none. Fill it in or drop the chain.")
    return np.frombuffer(codes, np.int8).copy()


def letters(residues: Int[np.ndarray, " length"]) -> str:
    """Returns numbers as an amino-acid sequence, the inverse of `residues`; 20 becomes X.

    Args:
        residues: 0 to 20, of one chain.

    Returns:
        One-letter codes.

    Example:
        >>> letters(residues("arnu"))
        'ARNX'
    """
    return "".join((RESIDUES + "X")[residue] for residue in residues)


def three_states(states: Any) -> Any:
    """Returns states of DSSP as one of three: helix 0 (H, G, I), strand 1 (E, B), and the rest 2 (T, S, C).

    Args:
        states: 0 to 7, or -1 for none; a NumPy or JAX array of any shape.

    Returns:
        0 to 2, -1 where there is none; an array of the same kind.

    Example:
        >>> three_states(states("HGIEBTSC")).tolist(), three_states(np.array([-1])).tolist()
        ([0, 0, 0, 1, 1, 2, 2, 2], [-1])

    References:
        Rost and Sander (1993), Prediction of protein secondary structure at better than 70 % accuracy, J. Mol. Biol. 232(2)
        (this reduction). https://doi.org/10.1006/jmbi.1993.1413
    """
    if isinstance(states, np.ndarray):
        return np.where(states < 0, -1, _THREE[states])
    return jnp.where(states < 0, -1, jnp.asarray(_THREE)[jnp.asarray(states)])


def merged(logits: Float[Array | np.ndarray, "*batch 8"]) -> Float[Array, "*batch 3"]:
    r"""Returns the logits of helix, strand and the rest, whose probabilities are the sums of those of their states.

    .. math:: z_k = \log \sum_{s \in k} e^{z_s}

    Args:
        logits: Of the eight states, in the order of `STATES`.

    Returns:
        Logits of the three classes of `three_states`.

    Example:
        >>> [round(float(one), 3) for one in jax.nn.softmax(merged(jnp.zeros(8)))]
        [0.375, 0.25, 0.375]
    """
    of_class = [jax.nn.logsumexp(logits[..., np.flatnonzero(_THREE == one)], axis=-1) for one in range(3)]
    return jnp.stack(of_class, axis=-1)

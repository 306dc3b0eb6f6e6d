"""Constrained decoding of SMILES: which tokens may come next, so that a valid molecule can still come of a text."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer

from jaxresearch.fields.molecules import grammar, states
from jaxresearch.fields.molecules.states import Kind, SmilesState
from jaxresearch.fields.molecules.valence import normal_valences
from jaxresearch.fields.text.decoding import Constraint

_ROLES = {"(": states.OPEN, ")": states.CLOSE, ".": states.DOT, "<end>": states.END}
_BONDS = {one: grammar.BONDS[one] for one in "-=#/\\"}


def smiles_constraint(vocabulary: Sequence[str], *, n_new: int) -> Constraint:
    """Returns the rules by which `jaxresearch.fields.text.decoding.generate` writes valid molecules alone.

    A token is allowed if a molecule can still come of it in the tokens that are left: all branches and rings are closed, no atom
    exceeds its normal valence, and aromatic rings can be written with alternating double bonds. When tokens run short, the text
    is led to its end. Some valid SMILES are never written:

    - those that are not written depth first, or more than eight branches deep;
    - a bond that is written at a ring closure of an aromatic system before its rings are closed, or a double one there;
    - more than seven aromatic atoms at once whose double bond is not settled, as in four aromatic systems within each other;
    - nitrogen with five bonds, and metals with any.

    Args:
        vocabulary: Texts of the tokens; ``<end>`` ends a molecule, and what is not SMILES is never drawn.
        n_new: Tokens to write, at least 16.

    Returns:
        A constraint whose state is a `SmilesState`.

    Raises:
        ValueError: If there are fewer tokens to write, or the vocabulary lacks a token that may be needed to finish: ``C``, and
            with aromatic atoms ``c``, ``=`` and a ring closure, and ``)`` if there is ``(``.

    Example:
        >>> names = ("C", "O", "=", "(", ")", "1", "<end>")
        >>> rules = smiles_constraint(names, n_new=24)
        >>> state = rules.init()
        >>> for token in (0, 2, 1):  # C=O
        ...     state = rules.advance(state, token)
        >>> [name for name, is_allowed in zip(names, rules.allowed(state)) if is_allowed]
        ['<end>']

    References:
        James et al. (2016), OpenSMILES specification, version 1.0. http://opensmiles.org/opensmiles.html
    """
    _require_complete(vocabulary, n_new)
    digits = sorted({one for one in vocabulary if _is_digit(one)}) or ["1"]
    rows = [tuple(_kind(one, digits)) for one in vocabulary]
    kinds = sorted({*rows})
    of_token = np.array([kinds.index(row) for row in rows])
    table = Kind(*(np.array(column, np.int32) for column in zip(*kinds, strict=True)))
    finishing = [kinds.index(tuple(_kind(one, digits))) if one in vocabulary else -1 for one in ("c", "=", "C")]

    def allowed(state: SmilesState) -> Bool[Array, " tokens"]:
        after = jax.vmap(lambda kind: states.advance(state, kind))(table)
        has_slots = (after.slots < 0).sum(axis=1) >= states.N_RESERVED
        fits = after.is_possible & has_slots & (after.n_left >= jax.vmap(states.n_needed)(after))
        urgent = states.urgency(state, table, finishing)
        to_end = jnp.arange(len(kinds)) == jnp.argmax(jnp.where(after.is_possible, urgent, -1))
        return jnp.where(fits.any(), fits, to_end & after.is_possible)[of_token]

    def advance(state: SmilesState, token: Integer[Array, ""] | int) -> SmilesState:
        return states.advance(state, jax.tree.map(lambda column: jnp.asarray(column[of_token])[token], table))

    return Constraint(lambda: states.start(n_new, len(digits)), allowed, advance)


def _is_digit(token: str) -> bool:
    """Returns whether a token is a ring closure."""
    return token[:1].isdigit() or token[:1] == "%"


def _require_complete(vocabulary: Sequence[str], n_new: int) -> None:
    """Raises unless every molecule that is begun can be finished."""
    if n_new < 16:
        raise ValueError(f"n_new must be 16 or more, got {n_new}. A molecule needs room for a ring and a branch.")
    atoms = [grammar.atom(one) for one in vocabulary if one not in _ROLES]
    needed = {"C"} | ({"c", "=", "1"} if any(one and one.is_aromatic for one in atoms) else set())
    needed |= {")"} if "(" in vocabulary else set()
    missing = sorted(needed - {"1" if _is_digit(one) else one for one in vocabulary})
    if missing:
        raise ValueError(
            f"vocabulary must have the tokens that finish a molecule, got none for "
            f"{', '.join(missing)}. Add them, or train on more."
        )


def _kind(token: str, digits: list[str]) -> Kind:
    """Returns what a token does."""
    if token in _ROLES:
        return Kind(_ROLES[token])
    if token in _BONDS:
        return Kind(states.BOND, order=_BONDS[token], is_directed=int(token in "/\\"))
    if _is_digit(token):
        return Kind(states.RING, digit=digits.index(token))
    one = None if token[:1] == "<" else grammar.atom(token)
    if one is None:
        return Kind(states.NEVER)
    valences = normal_valences(one) or (0,)  # metals, of which little is known, stand alone
    n_bonds = (min if one.is_aromatic else max)(valences) - (one.hydrogens or 0)
    if n_bonds < 2 * one.is_aromatic:
        return Kind(states.NEVER)
    lacks = int(one.is_aromatic and n_bonds > 2)
    return Kind(states.ATOM, n_bonds - lacks, int(one.is_aromatic), lacks, int(lacks and n_bonds == 3))

"""Which tokens may follow a piece of SMILES, so that a valid molecule can still come of it; pure functions of arrays.

What is known of a text are the bonds that each atom can still have, its open branches and ring closures, the aromatic bonds that are
in no closed ring yet, and which sets of aromatic atoms may still lack their double bond: `SmilesState`. SMILES are taken to be
written depth first, as programs write them, so that a ring closure joins an atom with one on the way to it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer, UInt

from jaxresearch.fields.molecules import grammar
from jaxresearch.fields.molecules.valence import normal_valences
from jaxresearch.fields.text.decoding import Constraint

_START, _ATOM, _BOND, _OPEN, _CLOSE, _RING, _DOT, _END, _NEVER, _ROOT = range(10)  # _ROOT: an atom that must open a ring
_ROLES = {"(": _OPEN, ")": _CLOSE, ".": _DOT, "<end>": _END}
_BONDS = {one: grammar.BONDS[one] for one in "-=#/\\"}
_N_BRANCHES, _N_SLOTS = 8, 9  # open branches; aromatic atoms that are followed at once because they may lack a double bond
_N_RESERVED = 2  # slots that are kept for what finishes a ring
_WORDS = np.arange(2 ** (_N_SLOTS - 5))  # words of 32 bits, a bit for each set of slots
_HAS = np.array(  # the bits of the sets that have each slot
    [[bits] * len(_WORDS) for bits in (0xAAAAAAAA, 0xCCCCCCCC, 0xF0F0F0F0, 0xFF00FF00, 0xFFFF0000)]
    + [[0xFFFFFFFF * (int(word) >> slot & 1) for word in _WORDS] for slot in range(_N_SLOTS - 5)],
    np.uint32,
)
_SMALLEST = 5  # atoms of an aromatic ring


class _Kind(NamedTuple):
    """What a token does; many tokens do the same. Bonds to neighbours are counted without the double bond of the ring."""

    role: Any
    bonds: Any = 0  # of an atom, as a sum of orders; for an aromatic one without its double bond
    is_aromatic: Any = 0
    lacks_double: Any = 0  # whether an aromatic atom needs a double bond in the ring
    takes_third: Any = 0  # or a third neighbour in its place, as n does
    order: Any = 0
    digit: Any = 0
    is_directed: Any = 0  # of a bond: whether it is one of those beside a double bond


class SmilesState(NamedTuple):
    """What is known of a text; atoms are numbered in the order of the text, and -1 stands for none.

    Attributes:
        is_possible: Whether a valid molecule can still come of it, given enough tokens.
        n_left: Tokens that may still be written.
        last: What the last token was.
        here: The atom that the next one is bonded to.
        order: Of a bond that waits for its second atom; 0 for none.
        may_ring: Whether a ring closure may follow.
        n_atoms: Number of atoms.
        free: Bonds that each atom can still have, without the double bond of an aromatic ring.
        takes_third: Whether each atom can have one more in place of this double bond.
        groups: The first atom of the aromatic ring system of each atom.
        is_uncovered: Whether the aromatic bond that leads to each atom, or each first one, is in no closed ring.
        depths: Bonds on the way to each atom from the first one.
        is_bonded: Which atoms have a bond with `here`.
        branches: The atoms with an open branch, in order.
        n_branches: Number of open branches.
        anchors: The atom of each open ring closure.
        ring_orders: The bond written there; 0 for none.
        slots: Aromatic atoms that may lack their double bond.
        lacking: A bit for each set of slots: whether it may be exactly these that lack it.
    """

    is_possible: Bool[Array, ""]
    n_left: Int[Array, ""]
    last: Int[Array, ""]
    here: Int[Array, ""]
    order: Int[Array, ""]
    may_ring: Bool[Array, ""]
    n_atoms: Int[Array, ""]
    free: Int[Array, " atoms"]
    takes_third: Bool[Array, " atoms"]
    groups: Int[Array, " atoms"]
    is_uncovered: Bool[Array, " atoms"]
    depths: Int[Array, " atoms"]
    is_bonded: Bool[Array, " atoms"]
    branches: Int[Array, " branches"]
    n_branches: Int[Array, ""]
    anchors: Int[Array, " digits"]
    ring_orders: Int[Array, " digits"]
    slots: Int[Array, " slots"]
    lacking: UInt[Array, " words"]


def smiles_constraint(vocabulary: Sequence[str], *, n_new: int) -> Constraint:
    """Returns the rules by which `jaxresearch.fields.text.decoding.generate` writes valid molecules alone.

    A token is allowed if a molecule can still come of it in the tokens that are left, in which no atom exceeds its normal valence, all
    branches and rings are closed, and aromatic rings can be written with alternating double bonds. When tokens run short, the
    text is led to its end. Some valid SMILES are never written: see the guide to molecules in ``docs``.

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
    table = _Kind(*(np.array(column, np.int32) for column in zip(*kinds, strict=True)))
    first = np.array([kinds.index(tuple(_kind(one, digits))) if one in vocabulary else -1 for one in ("c", "=", "C")])

    def allowed(state: SmilesState) -> Bool[Array, " tokens"]:
        after = jax.vmap(lambda kind: _advance(state, kind))(table)
        has_slots = (after.slots < 0).sum(axis=1) >= _N_RESERVED
        fits = after.is_possible & has_slots & (after.n_left >= jax.vmap(_n_needed)(after))
        urgent = _urgency(state, table, first)
        to_end = jnp.arange(len(kinds)) == jnp.argmax(jnp.where(after.is_possible, urgent, -1))
        return jnp.where(fits.any(), fits, to_end & after.is_possible)[of_token]

    def advance(state: SmilesState, token: Integer[Array, ""] | int) -> SmilesState:
        return _advance(state, jax.tree.map(lambda column: jnp.asarray(column[of_token])[token], table))

    return Constraint(lambda: _start(n_new, len(digits)), allowed, advance)


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
            f"vocabulary must have the tokens that finish a molecule, got none for {', '.join(missing)}. Add them, or train on more."
        )


def _kind(token: str, digits: list[str]) -> _Kind:
    """Returns what a token does."""
    if token in _ROLES:
        return _Kind(_ROLES[token])
    if token in _BONDS:
        return _Kind(_BOND, order=_BONDS[token], is_directed=int(token in "/\\"))
    if _is_digit(token):
        return _Kind(_RING, digit=digits.index(token))
    one = None if token[:1] == "<" else grammar.atom(token)
    if one is None:
        return _Kind(_NEVER)
    valences = normal_valences(one) or (0,)  # metals, of which little is known, stand alone
    n_bonds = (min if one.is_aromatic else max)(valences) - (one.hydrogens or 0)
    if n_bonds < 2 * one.is_aromatic:
        return _Kind(_NEVER)
    lacks = int(one.is_aromatic and n_bonds > 2)
    return _Kind(_ATOM, n_bonds - lacks, int(one.is_aromatic), lacks, int(lacks and n_bonds == 3))


def _start(n_new: int, n_digits: int) -> SmilesState:
    """Returns the state of an empty text."""
    none = jnp.full(n_new, -1, jnp.int32)
    zero, no = jnp.zeros((), jnp.int32), jnp.zeros(n_new, bool)
    return SmilesState(
        is_possible=jnp.array(True),
        n_left=zero + n_new,
        last=zero + _START,
        here=zero - 1,
        order=zero,
        may_ring=jnp.array(False),
        n_atoms=zero,
        free=none * 0,
        takes_third=no,
        groups=none,
        is_uncovered=no,
        depths=none * 0,
        is_bonded=no,
        branches=jnp.full(_N_BRANCHES, -1, jnp.int32),
        n_branches=zero,
        anchors=jnp.full(n_digits, -1, jnp.int32),
        ring_orders=jnp.zeros(n_digits, jnp.int32),
        slots=jnp.full(_N_SLOTS, -1, jnp.int32),
        lacking=jnp.asarray(_WORDS == 0, jnp.uint32),
    )


def _advance(state: SmilesState, kind: _Kind) -> SmilesState:
    """Returns the state after a token; it is not possible if the token breaks a rule."""
    is_lawful = _follows(state, kind)
    is_ring, is_atom = kind.role == _RING, kind.role == _ATOM
    after = _closed(_added(state, kind, is_atom), kind, is_ring)
    after = _branched(after, kind.role == _OPEN, kind.role == _CLOSE)
    is_over = (kind.role == _DOT) | (kind.role == _END)
    here = jnp.where(is_over, -1, after.here)
    must_ring = is_atom & (kind.is_aromatic == 1) & (_at(after.groups, here) == here)
    after = after._replace(
        is_possible=after.is_possible & is_lawful,
        n_left=state.n_left - 1,
        last=jnp.where(must_ring, _ROOT, kind.role),
        here=here,
        order=jnp.where(kind.role == _BOND, kind.order, 0),
        may_ring=jnp.where(kind.role == _BOND, state.may_ring & (kind.is_directed == 0), is_atom | is_ring),
    )
    return _settled(after)


def _follows(state: SmilesState, kind: _Kind) -> Bool[Array, ""]:
    """Returns whether the grammar lets the token stand here."""
    role, last = kind.role, state.last
    has_atom = (last == _ATOM) | (last == _RING)
    begins = (state.n_branches > 0) & (_top(state) == state.here)  # a branch has just been opened
    is_joined = (state.groups[state.here] >= 0) & (state.order == 0) & (kind.is_aromatic == 1)
    stays = begins | is_joined | ~_of_level(state, state.is_uncovered).any()  # else the ring could not be closed
    is_closed = has_atom & ~(state.anchors >= 0).any() & ~state.is_uncovered.any() & (state.n_branches == 0)
    is_new = state.anchors[kind.digit] < 0
    ends_branch = (state.n_branches > 0) & ~_of_level(state, state.is_uncovered).any() & ~_has_open(state)
    return jnp.select(
        [role == one for one in (_ATOM, _BOND, _OPEN, _CLOSE, _RING, _DOT, _END)],
        [
            (last != _ROOT) & (last != _END) & (stays | (state.here < 0)),
            (has_atom | (last == _CLOSE) | (last == _OPEN)) & (stays | begins),
            (has_atom | (last == _CLOSE)) & (state.n_branches < _N_BRANCHES),
            has_atom & ends_branch,
            state.may_ring & ((last != _ROOT) | is_new),
            is_closed,
            is_closed,
        ],
        False,
    )


def _at(vector: Array, place: Array) -> Array:
    """Returns an entry; the first for -1."""
    return vector[jnp.maximum(place, 0)]


def _top(state: SmilesState) -> Int[Array, ""]:
    """Returns the atom of the innermost open branch, or -1."""
    return jnp.where(state.n_branches > 0, _at(state.branches, state.n_branches - 1), -1)


def _of_level(state: SmilesState, atoms: Bool[Array, " atoms"]) -> Bool[Array, " atoms"]:
    """Returns which of the atoms are in the innermost open branch."""
    return atoms & (jnp.arange(len(atoms)) > _top(state))


def _has_open(state: SmilesState) -> Bool[Array, ""]:
    """Returns whether a ring closure that was opened in the innermost open branch is still open."""
    return (state.anchors > _top(state)).any()


def _slot(state: SmilesState, atom: Array) -> tuple[Bool[Array, ""], Int[Array, ""]]:
    """Returns whether an atom may lack its double bond, and its slot."""
    is_slot = (state.slots == atom) & (atom >= 0)
    return is_slot.any(), jnp.argmax(is_slot)


def _flipped(lacking: UInt[Array, " words"], slot: Int[Array, ""]) -> UInt[Array, " words"]:
    """Returns the sets with a slot taken out where they had it, and put in where they had not."""
    has, is_low = jnp.asarray(_HAS)[slot], slot < 5
    shift = jnp.where(is_low, 1 << slot, 0).astype(jnp.uint32)
    within = ((lacking & has) >> shift) | ((lacking & ~has) << shift)
    return within[_WORDS ^ jnp.where(is_low, 0, 1 << (slot - 5))]


def _with(lacking: UInt[Array, " words"], slot: Int[Array, ""]) -> UInt[Array, " words"]:
    """Returns the sets with a slot added, which none had."""
    return _flipped(lacking, slot) & jnp.asarray(_HAS)[slot]


def _without(lacking: UInt[Array, " words"], slot: Int[Array, ""]) -> UInt[Array, " words"]:
    """Returns the sets that had the slot, without it."""
    return _flipped(lacking, slot) & ~jnp.asarray(_HAS)[slot]


def _bonded_here(state: SmilesState, order: Array, applies: Array) -> tuple[SmilesState, Bool[Array, ""]]:
    """Returns the state after one more bond of the present atom, and whether that took the place of its double bond."""
    is_aromatic, free = state.groups[state.here] >= 0, state.free[state.here]
    has_slot, slot = _slot(state, state.here)
    replaces = is_aromatic & ((order == 2) | (free == 0))
    cost = jnp.where(is_aromatic & (order == 2), 1, jnp.where(replaces, 0, order))
    is_lawful = (free >= cost) & ~(is_aromatic & (order > 2))
    is_lawful &= ~replaces | (has_slot & ((order == 2) | state.takes_third[state.here]))
    is_here = jnp.arange(len(state.free)) == state.here
    return state._replace(
        is_possible=state.is_possible & (is_lawful | ~applies),
        free=state.free - jnp.where(is_here & applies, cost, 0),
        lacking=jnp.where(applies & replaces, _without(state.lacking, slot), state.lacking),
    ), replaces


def _added(state: SmilesState, kind: _Kind, applies: Array) -> SmilesState:
    """Returns the state after an atom."""
    order, has_parent = jnp.maximum(state.order, 1), state.here >= 0
    is_joined = has_parent & (kind.is_aromatic == 1) & (state.groups[state.here] >= 0) & (state.order == 0)
    bonded, replaces = _bonded_here(state, order, applies & has_parent)
    is_double = has_parent & (kind.is_aromatic == 1) & (order == 2)
    cost = jnp.where(has_parent, jnp.where(is_double, 1, order), 0)
    is_lawful = (kind.bonds >= cost) & ~(has_parent & (kind.is_aromatic == 1) & (order > 2))
    lacks = (kind.lacks_double == 1) & ~is_double
    slot = jnp.argmax(state.slots < 0)
    is_lawful &= ~lacks | (state.slots < 0).any()
    parent_lacks, of_parent = _slot(state, state.here)
    with_it = jnp.where(lacks, _with(bonded.lacking, slot), bonded.lacking)
    pairs = is_joined & lacks & parent_lacks & ~replaces
    lacking = with_it | jnp.where(pairs, _without(bonded.lacking, of_parent), 0)
    new, place = state.n_atoms, jnp.arange(len(state.free))
    is_new, group = place == new, jnp.where(is_joined, state.groups[state.here], new)
    made = bonded._replace(
        is_possible=bonded.is_possible & is_lawful & (new < len(place)),
        here=new,
        n_atoms=new + 1,
        free=jnp.where(is_new, kind.bonds - cost, bonded.free),
        takes_third=jnp.where(is_new, kind.takes_third == 1, state.takes_third),
        groups=jnp.where(is_new, jnp.where(kind.is_aromatic == 1, group, -1), state.groups),
        is_uncovered=jnp.where(is_new, kind.is_aromatic == 1, state.is_uncovered),
        depths=jnp.where(is_new, state.depths[state.here] + 1, state.depths),
        is_bonded=(place == state.here) & has_parent,
        slots=jnp.where(lacks & (jnp.arange(_N_SLOTS) == slot), new, state.slots),
        lacking=lacking,
    )
    return _where(applies, made, state)


def _closed(state: SmilesState, kind: _Kind, applies: Array) -> SmilesState:
    """Returns the state after a ring closure, which is opened or closed."""
    anchor, opened, place = state.anchors[kind.digit], state.ring_orders[kind.digit], jnp.arange(len(state.free))
    closes, written = anchor >= 0, jnp.maximum(opened, state.order)
    order = jnp.maximum(written, 1)
    more = jnp.where(closes, order - jnp.maximum(opened, 1), 0)  # than what was set aside when it was opened
    group, of_anchor = state.groups[state.here], _at(state.groups, anchor)
    is_aromatic = closes & (group >= 0) & (group == of_anchor) & (written == 0)
    size = state.depths[state.here] - _at(state.depths, anchor) + 1
    is_lawful = (opened == 0) | (state.order == 0) | (opened == state.order)
    is_lawful &= ~closes | ((anchor != state.here) & ~_at(state.is_bonded, anchor))
    is_lawful &= (more == 0) | ((of_anchor < 0) & (_at(state.free, anchor) >= more))
    is_lawful &= closes | (group < 0) | (order == 1)
    is_lawful &= ~is_aromatic | (size >= _SMALLEST)
    (lacks, slot), (anchor_lacks, slot_of_anchor) = _slot(state, state.here), _slot(state, anchor)
    bonded, replaces = _bonded_here(state, order, applies)
    pairs = is_aromatic & lacks & anchor_lacks & ~replaces
    paired = jnp.where(pairs, _without(_without(bonded.lacking, slot), slot_of_anchor), 0)
    is_covered = is_aromatic & (state.groups == group) & (place <= state.here)
    is_covered &= (place > anchor) | ((place == anchor) & (anchor == group))
    is_anchor, is_digit = closes & (place == anchor), jnp.arange(len(state.anchors)) == kind.digit
    made = bonded._replace(
        is_possible=bonded.is_possible & is_lawful,
        free=bonded.free - jnp.where(is_anchor, more, 0),
        is_uncovered=state.is_uncovered & ~is_covered,
        is_bonded=state.is_bonded | is_anchor,
        anchors=jnp.where(is_digit, jnp.where(closes, -1, state.here), state.anchors),
        ring_orders=jnp.where(is_digit, jnp.where(closes, 0, state.order), state.ring_orders),
        lacking=bonded.lacking | paired,
    )
    return _where(applies, made, state)


def _branched(state: SmilesState, opens: Array, closes: Array) -> SmilesState:
    """Returns the state after a branch is opened or closed."""
    is_next = jnp.arange(_N_BRANCHES) == state.n_branches
    return state._replace(
        here=jnp.where(closes, _top(state), state.here),
        branches=jnp.where(opens & is_next, state.here, state.branches),
        n_branches=state.n_branches + opens - closes,
    )


def _where(applies: Array, made: SmilesState, state: SmilesState) -> SmilesState:
    """Returns one of two states."""
    return jax.tree.map(lambda one, other: jnp.where(applies, one, other), made, state)


def _settled(state: SmilesState) -> SmilesState:
    """Returns the state without sets of lacking double bonds that cannot be made, and whether it can be finished."""
    begins, is_aromatic = (state.n_branches > 0) & (_top(state) == state.here), state.groups[state.here] >= 0
    ends = jnp.concatenate([state.here[None], state.branches])  # atoms that can have further bonds
    is_end = jnp.concatenate([state.here[None] >= 0, jnp.arange(_N_BRANCHES) < state.n_branches])
    free, third, groups = (vector[jnp.maximum(ends, 0)] for vector in (state.free, state.takes_third, state.groups))
    is_here = ends == state.here
    # Bonds that will be needed: of each open branch one after it, and here what is written or still open.
    is_open = _of_level(state, state.is_uncovered).any() | _has_open(state) | (state.last == _CLOSE)
    written = jnp.where(is_aromatic & (state.order == 2), 1, state.order)
    owed = jnp.where(state.order > 0, written, jnp.where(state.last == _ROOT, 2, begins | is_open))
    needed = jnp.where(is_here, owed, 0) + (is_here & begins | (jnp.arange(len(ends)) > 0))
    doubles = is_here & is_aromatic & (state.order == 2)
    replaces = is_end & (needed == free + 1) & third & ~doubles
    has_room = ~is_end | (needed <= free) | replaces
    has_room &= ~(is_here & is_aromatic & (state.order > 2))
    must_lack = replaces | (is_end & doubles)
    # An aromatic atom may get its double bond later if it can have another bond, or has a ring closure that can be reached.
    is_slot, of_slot = state.slots >= 0, jnp.maximum(state.slots, 0)
    is_same = (state.slots[:, None] == ends) & is_end & is_slot[:, None]
    must = (is_same & must_lack).any(1)
    may_bond = (is_same & ((free - jnp.where(is_here, written, 0) >= 1) | third)).any(1)
    goes_on = is_end & ((jnp.arange(len(ends)) > 0) | (state.order == 0))  # a bond that is written leaves the ring
    beyond = goes_on & ((free >= 1) | third) & (groups == state.groups[of_slot][:, None]) & (ends >= of_slot[:, None])
    is_plain = ((state.anchors == state.slots[:, None]) & (state.ring_orders == 0)).any(1)
    may = must | (is_slot & (may_bond | (is_plain & beyond.any(1))))
    masks = jnp.where(must[:, None], _HAS, jnp.where((is_slot & ~may)[:, None], ~_HAS, np.uint32(0xFFFFFFFF)))
    lacking = state.lacking & jnp.bitwise_and.reduce(masks, axis=0)
    # Each aromatic bond outside a ring needs a ring closure that is open before it.
    place = jnp.arange(len(state.free))
    before = (state.anchors[:, None] < place) | ((state.anchors[:, None] == place) & (state.groups == place))
    of_anchor = jnp.where((state.anchors >= 0) & (state.ring_orders == 0), _at(state.groups, state.anchors), -2)
    will_close = (before & (of_anchor[:, None] == state.groups)).any(0)
    waits = (state.last == _ROOT) & (place == state.here) & (state.anchors < 0).any()
    is_possible = has_room.all() & (~must_lack | is_same.any(0)).all() & (lacking > 0).any()
    is_possible &= (will_close | waits | ~state.is_uncovered).all()
    return state._replace(
        is_possible=state.is_possible & is_possible, slots=jnp.where(may, state.slots, -1), lacking=lacking
    )


def _n_needed(state: SmilesState) -> Int[Array, ""]:
    """Returns a number of tokens that is enough to finish, as `_urgency` does: a ring closure may need atoms before it."""
    is_aromatic = (state.anchors >= 0) & (_at(state.groups, state.anchors) >= 0) & (state.ring_orders == 0)
    is_other = (state.anchors >= 0) & ~is_aromatic
    n_tokens = 8 * is_aromatic.sum() + 3 * is_other.sum() + 3 * state.n_branches + 9 * (state.last == _ROOT) + 4
    has_atom = (state.last == _ATOM) | (state.last == _RING)
    is_closed = has_atom & ~(state.anchors >= 0).any() & ~state.is_uncovered.any() & (state.n_branches == 0)
    is_whole = is_closed & ((state.lacking[0] & 1) == 1)
    return jnp.where(is_whole | (state.last == _END), 0, n_tokens)


def _urgency(state: SmilesState, table: _Kind, first: np.ndarray) -> Int[Array, " kinds"]:
    """Returns how much each kind of token brings a text to its end; the likeliest way is left once tokens run short."""
    kinds = jnp.arange(len(table.role))
    is_aromatic = (state.groups[state.here] >= 0) & (state.here >= 0) & (state.order == 0)
    is_open = _at(state.anchors, table.digit) >= 0
    return jnp.select(
        [
            table.role == _END,
            table.role == _CLOSE,
            (table.role == _RING) & is_open,
            is_aromatic & (kinds == first[0]),
            is_aromatic & (kinds == first[1]),
            kinds == first[2],
            (table.role == _RING) & (state.last == _ROOT),
        ],
        jnp.arange(7, 0, -1),
        -1,
    )

"""What is known of a piece of SMILES while it is written, and whether a valid molecule can still come of it; arrays.

SMILES are taken to be written depth first, as programs write them: a ring closure joins an atom with one on the way to it, is
opened at the first aromatic atom of a ring, stands before the branches of its atom, and each branch is followed by an atom.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt

START, ATOM, BOND, OPEN, CLOSE, RING, DOT, END, NEVER = range(9)
"""Roles of tokens."""

N_RESERVED = 2
"""Slots that are kept for the atoms that finish a ring."""

_ROOT = 9  # the role of the first aromatic atom of a ring, after which a ring closure must be opened
_N_BRANCHES = 8
_N_SLOTS = 9  # aromatic atoms that are followed at once because they may lack a double bond
_SMALLEST = 5  # atoms of an aromatic ring
_WORDS = np.arange(2 ** (_N_SLOTS - 5))  # words of 32 bits, a bit for each set of slots
_HAS = np.array(  # the bits of the sets that have each slot
    [[bits] * len(_WORDS) for bits in (0xAAAAAAAA, 0xCCCCCCCC, 0xF0F0F0F0, 0xFF00FF00, 0xFFFF0000)]
    + [[0xFFFFFFFF * (int(word) >> slot & 1) for word in _WORDS] for slot in range(_N_SLOTS - 5)],
    np.uint32,
)


class Kind(NamedTuple):
    r"""What a token does; many tokens do the same.

    Attributes:
        role: `ATOM` or another.
        bonds: The bonds of an atom, as a sum of orders; for an aromatic one without the double bond of its ring.
        is_aromatic: Whether an atom is.
        lacks_double: Whether an aromatic atom needs a double bond in its ring.
        takes_third: Whether it may have a third neighbour in place of that, as ``n`` may.
        order: Of a bond.
        digit: Index of a ring closure.
        is_directed: Whether a bond is ``/`` or ``\``.
    """

    role: Any
    bonds: Any = 0
    is_aromatic: Any = 0
    lacks_double: Any = 0
    takes_third: Any = 0
    order: Any = 0
    digit: Any = 0
    is_directed: Any = 0


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


def start(n_new: int, n_digits: int) -> SmilesState:
    """Returns the state of an empty text.

    Args:
        n_new: Tokens that may be written.
        n_digits: Ring closures that may be open at once.

    Returns:
        The state.

    Example:
        >>> int(start(20, 9).n_left)
        20
    """
    none = jnp.full(n_new, -1, jnp.int32)
    zero, no = jnp.zeros((), jnp.int32), jnp.zeros(n_new, bool)
    return SmilesState(
        is_possible=jnp.array(True),
        n_left=zero + n_new,
        last=zero + START,
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


def advance(state: SmilesState, kind: Kind) -> SmilesState:
    """Returns the state after a token.

    Args:
        state: Before it.
        kind: What the token does.

    Returns:
        A state that is not possible, and stays so, if the token breaks a rule or leads into a dead end.

    Example:
        >>> carbon, end = Kind(ATOM, bonds=4), Kind(END)
        >>> bool(advance(advance(start(20, 9), carbon), end).is_possible), bool(advance(start(20, 9), end).is_possible)
        (True, False)
    """
    is_lawful = _follows(state, kind)
    is_ring, is_atom = kind.role == RING, kind.role == ATOM
    after = _closed(_added(state, kind, is_atom), kind, is_ring)
    after = _branched(after, kind.role == OPEN, kind.role == CLOSE)
    is_over = (kind.role == DOT) | (kind.role == END)
    here = jnp.where(is_over, -1, after.here)
    must_ring = is_atom & (kind.is_aromatic == 1) & (_at(after.groups, here) == here)
    after = after._replace(
        is_possible=after.is_possible & is_lawful,
        n_left=state.n_left - 1,
        last=jnp.where(must_ring, _ROOT, kind.role),
        here=here,
        order=jnp.where(kind.role == BOND, kind.order, 0),
        may_ring=jnp.where(kind.role == BOND, state.may_ring & (kind.is_directed == 0), is_atom | is_ring),
    )
    return _settled(after)


def _follows(state: SmilesState, kind: Kind) -> Bool[Array, ""]:
    """Returns whether the grammar lets the token stand here."""
    role, last = kind.role, state.last
    has_atom = (last == ATOM) | (last == RING)
    begins = (state.n_branches > 0) & (_top(state) == state.here)  # a branch has just been opened
    is_joined = (state.groups[state.here] >= 0) & (state.order == 0) & (kind.is_aromatic == 1)
    stays = begins | is_joined | ~_of_level(state, state.is_uncovered).any()  # else the ring could not be closed
    is_closed = _is_closed(state)
    is_new = state.anchors[kind.digit] < 0
    ends_branch = (state.n_branches > 0) & ~_of_level(state, state.is_uncovered).any() & ~_has_open(state)
    return jnp.select(
        [role == one for one in (ATOM, BOND, OPEN, CLOSE, RING, DOT, END)],
        [
            (last != _ROOT) & (last != END) & (stays | (state.here < 0)),
            (has_atom | (last == CLOSE) | (last == OPEN)) & (stays | begins),
            (has_atom | (last == CLOSE)) & (state.n_branches < _N_BRANCHES),
            has_atom & ends_branch,
            state.may_ring & ((last != _ROOT) | is_new),
            is_closed,
            is_closed,
        ],
        False,
    )


def _is_closed(state: SmilesState) -> Bool[Array, ""]:
    """Returns whether a text ends with an atom and has no open branch, ring closure or aromatic ring."""
    has_atom = (state.last == ATOM) | (state.last == RING)
    return has_atom & ~(state.anchors >= 0).any() & ~state.is_uncovered.any() & (state.n_branches == 0)


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


def _added(state: SmilesState, kind: Kind, applies: Array) -> SmilesState:
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


def _closed(state: SmilesState, kind: Kind, applies: Array) -> SmilesState:
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
    is_open = _of_level(state, state.is_uncovered).any() | _has_open(state) | (state.last == CLOSE)
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
    is_same = (state.slots[:, None] == ends[None]) & is_end[None] & is_slot[:, None]
    must = (is_same & must_lack[None]).any(1)
    can_bond = (free - jnp.where(is_here, written, 0) >= 1) | third
    may_bond = (is_same & can_bond[None]).any(1)
    goes_on = is_end & ((jnp.arange(len(ends)) > 0) | (state.order == 0))  # a bond that is written leaves the ring
    beyond = (groups[None] == state.groups[of_slot][:, None]) & (ends[None] >= of_slot[:, None])
    beyond &= (goes_on & ((free >= 1) | third))[None]
    is_plain = ((state.anchors[None] == state.slots[:, None]) & (state.ring_orders == 0)[None]).any(1)
    may = must | (is_slot & (may_bond | (is_plain & beyond.any(1))))
    masks = jnp.where(must[:, None], _HAS, jnp.where((is_slot & ~may)[:, None], ~_HAS, np.uint32(0xFFFFFFFF)))
    lacking = state.lacking & jnp.bitwise_and.reduce(masks, axis=0)
    # Each aromatic bond outside a ring needs a ring closure that is open before it.
    place, anchors = jnp.arange(len(state.free)), state.anchors[:, None]
    before = (anchors < place[None]) | ((anchors == place[None]) & (state.groups == place)[None])
    of_anchor = jnp.where((state.anchors >= 0) & (state.ring_orders == 0), _at(state.groups, state.anchors), -2)
    will_close = (before & (of_anchor[:, None] == state.groups[None])).any(0)
    waits = (state.last == _ROOT) & (place == state.here) & (state.anchors < 0).any()
    is_possible = has_room.all() & (~must_lack | is_same.any(0)).all() & (lacking > 0).any()
    is_possible &= (will_close | waits | ~state.is_uncovered).all()
    return state._replace(
        is_possible=state.is_possible & is_possible, slots=jnp.where(may, state.slots, -1), lacking=lacking
    )


def n_needed(state: SmilesState) -> Int[Array, ""]:
    """Returns a number of tokens that is enough to finish a text by `urgency`.

    Args:
        state: A possible one.

    Returns:
        0 if the text is a molecule already.

    Example:
        >>> int(n_needed(advance(start(20, 9), Kind(ATOM, bonds=4))))
        0
    """
    is_aromatic = (state.anchors >= 0) & (_at(state.groups, state.anchors) >= 0) & (state.ring_orders == 0)
    is_other = (state.anchors >= 0) & ~is_aromatic
    n_tokens = 8 * is_aromatic.sum() + 3 * is_other.sum() + 3 * state.n_branches + 9 * (state.last == _ROOT) + 4
    is_whole = _is_closed(state) & ((state.lacking[0] & 1) == 1)
    return jnp.where(is_whole | (state.last == END), 0, n_tokens)


def urgency(state: SmilesState, table: Kind, finishing: Sequence[int]) -> Int[Array, " kinds"]:
    """Returns how much each kind of token brings a text to its end.

    Args:
        state: Before the token.
        table: The kinds, as arrays.
        finishing: Indices of an aromatic carbon, of a double bond and of a carbon atom in the table.

    Returns:
        Larger for what is to be written first; -1 for what finishes nothing.

    Example:
        >>> table = Kind(*(np.array(column) for column in zip(Kind(ATOM, bonds=4), Kind(END))))
        >>> urgency(start(20, 9), table, (-1, -1, 0)).tolist()
        [2, 7]
    """
    kinds = jnp.arange(len(table.role))
    is_aromatic = (state.groups[state.here] >= 0) & (state.here >= 0) & (state.order == 0)
    is_open = _at(state.anchors, table.digit) >= 0
    return jnp.select(
        [
            table.role == END,
            table.role == CLOSE,
            (table.role == RING) & is_open,
            is_aromatic & (kinds == finishing[0]),
            is_aromatic & (kinds == finishing[1]),
            kinds == finishing[2],
            (table.role == RING) & (state.last == _ROOT),
        ],
        [*range(7, 0, -1)],
        -1,
    )

"""Whether a molecule can exist: its valences, and the double bonds of its aromatic rings; on the host."""

import numpy as np
from jaxtyping import Int

from jaxresearch.fields.molecules import rings
from jaxresearch.fields.molecules.grammar import AROMATIC, SYMBOLS, Atom
from jaxresearch.fields.molecules.parser import Molecule, parse

# By the number of electrons of the neutral atom: N+ has the valence of C, O- that of F.
_VALENCES = {
    **dict.fromkeys((1, 9, 17, 35, 53), (1,)),
    **dict.fromkeys((2, 10, 18, 36, 54), (0,)),
    **dict.fromkeys((5, 13), (3,)),
    **dict.fromkeys((6, 14, 32), (4,)),
    7: (3,),
    8: (2,),
    **dict.fromkeys((15, 33), (3, 5)),
    **dict.fromkeys((16, 34, 52), (2, 4, 6)),
}
_NITRO = (3, 5)  # nitrogen that is written with a double bond to an oxygen, as in N(=O)=O


def is_valid(smiles: str) -> bool:
    """Returns whether a text is the SMILES of a molecule with normal valences.

    Args:
        smiles: Any text.

    Returns:
        False if it does not parse, or `require_valences` refuses it.

    Example:
        >>> is_valid("c1ccccc1O"), is_valid("c1ccccc1("), is_valid("C(C)(C)(C)(C)C"), is_valid("c1cccc1")
        (True, False, False, False)
    """
    try:
        require_valences(parse(smiles))
    except ValueError:
        return False
    return True


def require_valences(molecule: Molecule) -> None:
    """Raises unless each atom has a normal valence, and aromatic rings can be written with alternating double bonds.

    Metals and unknown atoms may have any valence.

    Args:
        molecule: Any molecule.

    Raises:
        ValueError: If an atom has too many bonds, an aromatic atom is in no ring of aromatic atoms, or the aromatic atoms that
            need a double bond cannot be paired.

    Example:
        >>> require_valences(parse("CN(C)(C)C"))
        Traceback (most recent call last):
        ...
        ValueError: atoms must have normal valences, got a valence of 5 of N, atom 2. Correct it or drop the molecule.
    """
    sums = _valences_of_single_bonds(molecule)
    in_aromatic = np.zeros(molecule.n_atoms, bool)
    in_aromatic[molecule.bonds[molecule.orders == AROMATIC].ravel()] = True
    needy = set()
    for place, total in enumerate(sums.tolist()):
        allowed, what = _allowed(molecule, place), f"{SYMBOLS[molecule.elements[place]]}, atom {place + 1}"
        if molecule.is_aromatic[place] and not in_aromatic[place]:
            raise ValueError(f"aromatic atoms must be in an aromatic ring, got {what}. Write it in a capital letter.")
        if not allowed:
            continue
        if total > max(allowed):
            raise ValueError(
                f"atoms must have normal valences, got a valence of {total} of {what}. Correct it or drop the molecule."
            )
        if in_aromatic[place] and total not in allowed:
            needy.add(place)
    beside = rings.neighbours(molecule.n_atoms, molecule.bonds)
    aromatic = molecule.orders == AROMATIC
    partners = {one: {other for other, edge in beside[one] if aromatic[edge] and other in needy} for one in needy}
    if not _can_be_paired(partners):
        raise ValueError(
            "aromatic rings must have alternating double bonds, got a ring that cannot. Write the hydrogen of its [nH], or "
            "drop the molecule."
        )


def normal_valences(one: Atom) -> tuple[int, ...]:
    """Returns the normal valences of an atom, hydrogens included.

    Args:
        one: An atom, as its token spells it.

    Returns:
        In ascending order; empty if any is normal, as for metals and unknown atoms.

    Example:
        >>> from jaxresearch.fields.molecules.grammar import Atom
        >>> normal_valences(Atom(element=7, is_aromatic=False, charge=1))  # [NH4+]
        (4,)
    """
    if one.element not in _VALENCES:
        return ()
    unusual = (3,) if one.element in (5, 13) else ()  # B- has four bonds, as C
    return _VALENCES.get(one.element - one.charge, unusual)


def _valences_of_single_bonds(molecule: Molecule) -> Int[np.ndarray, " atoms"]:
    """Returns the valence of each atom, with aromatic bonds as single ones."""
    sums = molecule.hydrogens.astype(int)
    np.add.at(sums, molecule.bonds.ravel(), np.repeat(np.where(molecule.orders == AROMATIC, 1, molecule.orders), 2))
    return sums


def _allowed(molecule: Molecule, place: int) -> tuple[int, ...]:
    """Returns the normal valences of an atom; empty if any is."""
    element, charge = int(molecule.elements[place]), int(molecule.charges[place])
    if element == 7 and not charge:
        ends = molecule.bonds[(molecule.orders == 2) & (molecule.bonds == place).any(axis=1)]
        return _NITRO if (molecule.elements[ends] == 8).any() else _VALENCES[7]
    return normal_valences(Atom(element, bool(molecule.is_aromatic[place]), charge))


def _can_be_paired(partners: dict[int, set[int]]) -> bool:
    """Returns whether all atoms can be paired with a partner each; the one with the fewest choices goes first."""
    if not partners:
        return True
    one = min(partners, key=lambda place: len(partners[place]))
    for other in partners[one]:
        rest = {place: of - {one, other} for place, of in partners.items() if place not in (one, other)}
        if _can_be_paired(rest):
            return True
    return False

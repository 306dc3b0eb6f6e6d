"""Molecules as graphs of atoms, parsed from SMILES; NumPy on the host."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxresearch.fields.molecules import grammar, rings
from jaxresearch.fields.molecules.grammar import AROMATIC, Atom

_VALENCES = {0: (), 5: (3,), 6: (4,), 7: (3, 5), 8: (2,), 15: (3, 5), 16: (2, 4, 6)}  # of atoms outside brackets
_HALOGENS = (1,)
_NAMED = 5  # rows that are not SMILES, in a message


class Molecule(NamedTuple):
    """A molecule as arrays, an entry per atom or bond, in the order of its SMILES. Hydrogens are counted at their atoms.

    Attributes:
        elements: Atomic numbers; 0 for an unknown atom.
        is_aromatic: As written: in small letters.
        charges: In elementary charges.
        hydrogens: Implicit and explicit ones.
        isotopes: Mass numbers; 0 if not given.
        chirality: 0 for none, 1 for ``@``, 2 for ``@@``, 3 for a geometry other than tetrahedral.
        bonds: The two atoms of each bond.
        orders: 1 to 4, or 5 for aromatic.
        in_ring: Whether each bond is in a ring.
    """

    elements: Int[np.ndarray, " atoms"]
    is_aromatic: Bool[np.ndarray, " atoms"]
    charges: Int[np.ndarray, " atoms"]
    hydrogens: Int[np.ndarray, " atoms"]
    isotopes: Int[np.ndarray, " atoms"]
    chirality: Int[np.ndarray, " atoms"]
    bonds: Int[np.ndarray, "bonds 2"]
    orders: Int[np.ndarray, " bonds"]
    in_ring: Bool[np.ndarray, " bonds"]

    @property
    def n_atoms(self) -> int:
        """Number of atoms, without the hydrogens that are counted at theirs."""
        return len(self.elements)

    @property
    def degrees(self) -> Int[np.ndarray, " atoms"]:
        """Number of bonds of each atom, without those to hydrogens."""
        return np.bincount(self.bonds.ravel(), minlength=self.n_atoms)

    @property
    def n_rings(self) -> int:
        """Number of independent rings: bonds - atoms + connected parts."""
        return len(self.bonds) - self.n_atoms + rings.n_parts(self.n_atoms, self.bonds)


def parse(smiles: str) -> Molecule:
    """Returns the molecule of a SMILES string.

    The hydrogens of an atom outside brackets fill it up to its lowest normal valence; explicit ``[H]`` with one bond become
    hydrogens of their atom. A bond between aromatic atoms is aromatic if it is in a ring of aromatic atoms, else single.
    Aromaticity, charges and bonds are those that are written.

    Args:
        smiles: One molecule, or several separated by dots.

    Returns:
        The graph of its atoms; its arrays are read-only.

    Raises:
        ValueError: If it is no string, or not SMILES: an unknown character or element, a bond without an atom at either end, a
            branch that is empty, not opened or not closed, a ring closure that is not closed, or closes onto its own atom or
            an existing bond, or with two different bonds. Positions count from 1.

    Example:
        >>> pyrrole = parse("Cc1cc[nH]c1")
        >>> pyrrole.elements.tolist(), pyrrole.hydrogens.tolist(), pyrrole.orders.tolist(), pyrrole.n_rings
        ([6, 6, 6, 6, 7, 6], [3, 0, 1, 1, 1, 1], [1, 5, 5, 5, 5, 5], 1)

    References:
        Weininger (1988), J. Chem. Inf. Comput. Sci. 28(1). https://doi.org/10.1021/ci00057a005
        James et al. (2016), OpenSMILES specification, version 1.0. http://opensmiles.org/opensmiles.html
    """
    grammar.require_text(smiles)
    return _parsed(smiles)


def parse_rows(smiles: Iterable[str], *, column: str, of: str = "") -> list[Molecule]:
    """Returns the molecules of a column of SMILES strings.

    Args:
        smiles: One per row.
        column: The name of the column in an error message.
        of: What the rows belong to in an error message, such as ``"the test part"``.

    Returns:
        One molecule per row, as from `parse`.

    Raises:
        ValueError: If a row is not SMILES, with the numbers of the first five such rows; rows count from 1.

    Example:
        >>> [molecule.n_atoms for molecule in parse_rows(["CC", "CCO"], column="smiles")]
        [2, 3]
    """
    molecules, wrong = [], {}
    for row, one in enumerate(smiles, 1):
        try:
            molecules.append(parse(one))
        except ValueError as error:
            wrong[row] = error
    if wrong:
        (first, error), n = next(iter(wrong.items())), len(molecules) + len(wrong)
        place = f"row {first} of {of}" if of else f"row {first}"
        raise ValueError(f"{place}, column {column}: {error}{_others(list(wrong), n)}") from error
    return molecules


def _others(wrong: list[int], n: int) -> str:
    """Returns a sentence with the rows that are not SMILES, if there are several."""
    if len(wrong) == 1:
        return ""
    more = f" and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
    return f" In all, {len(wrong):,} of {n:,} rows are not SMILES: {', '.join(map(str, wrong[:_NAMED]))}{more}."


@functools.lru_cache(maxsize=32_768)  # data are parsed where they are checked, split and encoded
def _parsed(smiles: str) -> Molecule:
    """Returns the molecule of a SMILES string, parsed once."""
    reading = _Reading(smiles.strip())
    for token in grammar.tokens(smiles):
        reading.take(token)
        reading.place += len(token)
    reading.finish()
    return _without_hydrogen_atoms(_molecule(reading))


@dataclasses.dataclass
class _Reading:
    """A SMILES string while it is read: what has been read, and what is open."""

    text: str
    place: int = 0
    atoms: list[Atom] = dataclasses.field(default_factory=list)
    bonds: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)
    before: int | None = None  # the atom that the next one is bonded to
    bond: str = ""
    branches: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # the atom, and the place of the bracket
    closures: dict[int, tuple[int, str, int]] = dataclasses.field(default_factory=dict)
    last: str = ""

    def require(self, holds: bool, rule: str, place: int | None = None) -> None:
        """Raises if a rule is broken."""
        if not holds:
            raise grammar.refusal(rule, self.text, self.place if place is None else place)

    def take(self, token: str) -> None:
        """Reads one token."""
        if token in grammar.BONDS:
            self.require(self.before is not None and not self.bond, "each bond between two atoms")
            self.bond = token
        elif token == "(":
            self.require(self.before is not None and not self.bond and self.last != "(", "each branch after an atom")
            self.branches.append((self.before or 0, self.place))
        elif token == ")":
            self.require(
                bool(self.branches) and not self.bond and self.last not in ("(", "."),
                "branches that are opened and hold atoms",
            )
            self.before = self.branches.pop()[0]
        elif token == ".":
            self.require(self.before is not None and not self.bond, "a molecule on each side of a dot")
            self.before = None
        elif token[0].isdigit() or token[0] == "%":
            self.require(self.before is not None and self.last != "(", "each ring closure after an atom")
            self.close(int(token.lstrip("%")))
        else:
            self.add(token)
        self.last = token

    def add(self, token: str) -> None:
        """Reads an atom."""
        one = grammar.atom(token)
        self.require(one is not None, f"known atoms (not {token})")
        if one is None:
            return
        if self.before is not None:
            self.bonds[self.before, len(self.atoms)] = self.bond
        self.before, self.bond = len(self.atoms), ""
        self.atoms.append(one)

    def close(self, number: int) -> None:
        """Opens a ring closure, or closes it."""
        here, bond = self.before or 0, self.bond
        self.bond = ""
        if number not in self.closures:
            self.closures[number] = (here, bond, self.place)
            return
        there, opened, _ = self.closures.pop(number)
        pair = (there, here)
        is_new = there != here and pair not in self.bonds and pair[::-1] not in self.bonds
        self.require(is_new, "ring closures between two atoms without a bond")
        directed = {"/", "\\"}
        is_one = not opened or not bond or opened == bond or {opened, bond} <= directed
        self.require(is_one, "the same bond at both ends of a ring closure")
        self.bonds[pair] = opened or bond

    def finish(self) -> None:
        """Raises if anything is still open."""
        self.require(not self.bond and self.before is not None, "an atom after each bond and dot")
        if self.branches:
            self.require(False, "branches that are closed", self.branches[-1][1])
        for _, _, place in self.closures.values():
            self.require(False, "ring closures that are closed", place)


def _molecule(reading: _Reading) -> Molecule:
    """Returns the graph of what was read, with explicit hydrogens as atoms."""
    atoms, n = reading.atoms, len(reading.atoms)
    bonds = np.array(list(reading.bonds), np.int32).reshape(-1, 2)
    written = list(reading.bonds.values())
    is_aromatic = np.array([one.is_aromatic for one in atoms])
    joins_aromatic = is_aromatic[bonds].all(axis=1)
    in_aromatic_ring = np.zeros(len(bonds), bool)
    in_aromatic_ring[joins_aromatic] = rings.ring_bonds(n, bonds[joins_aromatic])
    implied = np.where(in_aromatic_ring, AROMATIC, 1)
    orders = np.array([grammar.BONDS.get(one, order) for one, order in zip(written, implied, strict=True)], np.int32)
    sums = np.zeros(n, int)
    np.add.at(sums, bonds.ravel(), np.repeat(np.where(orders == AROMATIC, 1, orders), 2))
    return Molecule(
        elements=np.array([one.element for one in atoms], np.int32),
        is_aromatic=is_aromatic,
        charges=np.array([one.charge for one in atoms], np.int32),
        hydrogens=np.array([_hydrogens(one, int(total)) for one, total in zip(atoms, sums, strict=True)], np.int32),
        isotopes=np.array([one.isotope for one in atoms], np.int32),
        chirality=np.array([one.chirality for one in atoms], np.int32),
        bonds=bonds,
        orders=orders,
        in_ring=rings.ring_bonds(n, bonds),
    )


def _hydrogens(one: Atom, total: int) -> int:
    """Returns the hydrogens of an atom whose bonds have this total order; an aromatic bond counts as one."""
    if one.hydrogens is not None:
        return one.hydrogens
    valences = _VALENCES.get(one.element, _HALOGENS)
    if one.is_aromatic:  # one more electron is in the ring, so that no second valence is filled up
        return max(valences[0] - total - 1, 0)
    return next((valence - total for valence in valences if valence >= total), 0)


def _without_hydrogen_atoms(molecule: Molecule) -> Molecule:
    """Returns the molecule with each plain hydrogen atom of one bond counted at the atom that it is bonded to."""
    plain = (molecule.elements == 1) & (molecule.isotopes == 0) & (molecule.charges == 0) & (molecule.hydrogens == 0)
    plain &= molecule.degrees == 1
    ends = molecule.bonds
    plain[ends[plain[ends].all(axis=1)]] = False  # a molecule of hydrogen stays
    if not plain.any():
        return _locked(molecule)
    hydrogens = molecule.hydrogens.copy()
    for one, other in ends[plain[ends].any(axis=1)]:
        hydrogens[other if plain[one] else one] += 1
    return submolecule(molecule._replace(hydrogens=hydrogens), ~plain)


def submolecule(molecule: Molecule, kept: Bool[np.ndarray, " atoms"]) -> Molecule:
    """Returns the atoms that are kept, and the bonds between them; hydrogens are not filled up.

    Args:
        molecule: Any molecule.
        kept: Which atoms.

    Returns:
        A molecule of these atoms, in the same order. A bond that was in a ring counts as one still.

    Example:
        >>> ethanol = parse("CCO")
        >>> submolecule(ethanol, ethanol.elements == 6).hydrogens.tolist()
        [3, 2]
    """
    is_whole = kept[molecule.bonds].all(axis=1)
    new = np.cumsum(kept, dtype=np.int32) - 1
    atoms = {name: getattr(molecule, name)[kept] for name in Molecule._fields[:6]}
    bonds = {
        "bonds": new[molecule.bonds[is_whole]],
        "orders": molecule.orders[is_whole],
        "in_ring": molecule.in_ring[is_whole],
    }
    return _locked(Molecule(**atoms, **bonds))


def _locked(molecule: Molecule) -> Molecule:
    """Returns the molecule with read-only arrays: it may be shared."""
    for array in molecule:
        array.flags.writeable = False
    return molecule

"""What molecules have in common: environments of atoms, identities, Bemis-Murcko scaffolds; NumPy on the host."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxresearch.fields.molecules import rings
from jaxresearch.fields.molecules.parser import Molecule, submolecule

_N_BYTES = 8  # of a hash


def scaffold_atoms(molecule: Molecule) -> Bool[np.ndarray, " atoms"]:
    """Returns which atoms are in the Bemis-Murcko scaffold: the rings, what links them, and what is double-bonded to these.

    Args:
        molecule: Any molecule.

    Returns:
        One boolean per atom; none for a molecule without rings.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> scaffold_atoms(parse("CC(=O)c1ccccc1")).tolist()  # acetophenone
        [False, False, False, True, True, True, True, True, True]

    References:
        Bemis and Murcko (1996), The properties of known drugs. 1. Molecular frameworks, J. Med. Chem. 39(15).
        https://doi.org/10.1021/jm9602928
    """
    kept, ends = np.ones(molecule.n_atoms, bool), molecule.bonds
    while True:
        is_whole = kept[ends].all(axis=1)
        is_end = kept & (np.bincount(ends[is_whole].ravel(), minlength=molecule.n_atoms) < 2)
        if not is_end.any():
            break
        kept &= ~is_end
    is_double = (molecule.orders == 2) & (kept[ends].sum(axis=1) == 1)
    kept[ends[is_double].ravel()] = True
    return kept


def scaffold(molecule: Molecule) -> Molecule:
    """Returns the Bemis-Murcko scaffold, with hydrogens in place of what was cut off.

    Args:
        molecule: Any molecule.

    Returns:
        A molecule of its `scaffold_atoms`; without atoms if there is no ring.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> identity(scaffold(parse("CCc1ccccc1O"))) == identity(parse("c1ccccc1"))
        True
    """
    kept, hydrogens = scaffold_atoms(molecule), molecule.hydrogens.copy()
    for bond, (one, other) in enumerate(molecule.bonds):
        if kept[one] != kept[other]:
            hydrogens[one if kept[one] else other] += min(molecule.orders[bond], 3)
    return submolecule(molecule._replace(hydrogens=hydrogens), kept)


def environments(molecule: Molecule, *, radius: int) -> list[list[int]]:
    """Returns a number for the surroundings of each atom, up to each radius; equal surroundings have equal numbers.

    At radius 0 it stands for the atom itself: its element, charge, isotope, aromaticity, hydrogens, and its bonds with the
    smallest ring of each. A larger radius adds the numbers of the neighbours at the radius before. Chirality is left out.

    Args:
        molecule: Any molecule.
        radius: Bonds to look ahead, 0 or more.

    Returns:
        For each radius from 0, one 64-bit number per atom; the same in every process.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> (first, second) = environments(parse("CCC"), radius=1)
        >>> first[0] == first[2] != first[1], second[0] == second[2] != second[1]
        (True, True)

    References:
        Rogers and Hahn (2010), Extended-connectivity fingerprints, J. Chem. Inf. Model. 50(5).
        https://doi.org/10.1021/ci100050t
    """
    return [*itertools.islice(_refined(molecule), radius + 1)]


def _refined(molecule: Molecule) -> Iterator[list[int]]:
    """Yields the numbers of the environments of all atoms, with a radius from 0 on."""
    beside, orders = rings.neighbours(molecule.n_atoms, molecule.bonds), molecule.orders.tolist()
    sizes = rings.smallest_rings(molecule.n_atoms, molecule.bonds, molecule.in_ring).tolist()
    atoms = zip(*(molecule[entry].tolist() for entry in range(5)), strict=True)  # all but chirality
    known = [
        _number((*one, sorted((orders[edge], sizes[edge]) for _, edge in edges)))
        for one, edges in zip(atoms, beside, strict=True)
    ]
    while True:
        yield known
        known = [
            _number((own, sorted((orders[edge], known[other]) for other, edge in edges)))
            for own, edges in zip(known, beside, strict=True)
        ]


def identity(molecule: Molecule) -> str:
    """Returns a name that is the same for every way to write a molecule, without its chirality.

    It refines the environments of the atoms until no further ones become different. Two different molecules share a name only if
    all their environments are equal, which is rare, since environments include the sizes of rings.

    Args:
        molecule: Any molecule; aromatic rings must be written alike.

    Returns:
        16 hexadecimal digits; an empty text for a molecule without atoms.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> identity(parse("OCC")) == identity(parse("C(O)C")) != identity(parse("COC"))
        True

    References:
        Weisfeiler and Leman (1968), The reduction of a graph to canonical form, Nauchno-Technicheskaya Informatsia 2(9).
    """
    if not molecule.n_atoms:
        return ""
    n_kinds, known = 0, []
    for known in _refined(molecule):
        if len({*known}) == n_kinds:
            break
        n_kinds = len({*known})
    return f"{_number(sorted(known)):016x}"


def fingerprint(molecule: Molecule, *, n_bits: int, radius: int = 2) -> Float[np.ndarray, " bits"]:
    """Returns how often each environment occurs, up to a radius, folded into a vector of fixed length.

    Args:
        molecule: Any molecule.
        n_bits: Length of the vector.
        radius: Bonds to look ahead.

    Returns:
        Counts, float32; environments whose numbers are equal modulo the length are counted together.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> fingerprint(parse("CCO"), n_bits=64, radius=1).sum()
        np.float32(6.0)

    References:
        Rogers and Hahn (2010), J. Chem. Inf. Model. 50(5). https://doi.org/10.1021/ci100050t
    """
    numbers = [number % n_bits for of_radius in environments(molecule, radius=radius) for number in of_radius]
    return np.bincount(numbers, minlength=n_bits).astype(np.float32)


def _number(described: Any) -> int:
    """Returns a hash of numbers in nested tuples and lists, the same in every process."""
    return int.from_bytes(hashlib.blake2b(repr(described).encode(), digest_size=_N_BYTES).digest())

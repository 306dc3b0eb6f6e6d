"""Numbers that describe a whole molecule; NumPy on the host."""

import numpy as np
from jaxtyping import Float

from jaxresearch.fields.molecules import rings
from jaxresearch.fields.molecules.grammar import AROMATIC
from jaxresearch.fields.molecules.parser import Molecule

DESCRIPTORS = (
    *("polar_surface", "weight", "heavy_atoms", "donors", "acceptors", "rotatable_bonds", "rings", "aromatic_atoms"),
    *("charge", "charged_atoms", "stereocentres", "saturated_carbons", "carbons", "nitrogens", "oxygens", "sulphurs"),
    *("phosphorus", "fluorines", "chlorines", "bromines", "iodines", "other_elements", "double_bonds", "triple_bonds"),
    *("carboxyls", "hydroxyls", "ring_nitrogens", "amides", "largest_ring", "halogens"),
)
# In daltons, of the elements from hydrogen on; the first is an unknown atom.
_WEIGHTS = np.array(
    (
        "0 1.008 4.003 6.94 9.012 10.81 12.011 14.007 15.999 18.998 20.18 22.99 24.305 26.982 28.085 30.974 32.06 "
        "35.45 39.95 39.098 40.078 44.956 47.867 50.942 51.996 54.938 55.845 58.933 58.693 63.546 65.38 69.723 72.63 "
        "74.922 78.971 79.904 83.798 85.468 87.62 88.906 91.224 92.906 95.95 98 101.07 102.906 106.42 107.868 112.414 "
        "114.818 118.71 121.76 127.6 126.904 131.293 132.905 137.327 138.905 140.116 140.908 144.242 145 150.36 "
        "151.964 157.25 158.925 162.5 164.93 167.259 168.934 173.045 174.967 178.49 180.948 183.84 186.207 190.23 "
        "192.217 195.084 196.967 200.592 204.38 207.2 208.98 209 210 222 223 226 227 232.038 231.036 238.029"
    ).split(),
    float,
)
# Of an atom with these hydrogens, charge, single, double, triple and aromatic bonds to other atoms, in square angstroms.
_SURFACES_N = {
    (0, 0, 0, 0, 1, 0): 23.79,
    (1, 0, 0, 1, 0, 0): 23.85,
    (2, 0, 1, 0, 0, 0): 26.02,
    (2, 1, 0, 1, 0, 0): 25.59,
    (3, 1, 1, 0, 0, 0): 27.64,
    (0, 0, 1, 1, 0, 0): 12.36,
    (0, 0, 0, 1, 1, 0): 13.60,
    (1, 0, 2, 0, 0, 0): 12.03,
    (0, 1, 1, 0, 1, 0): 4.36,
    (1, 1, 1, 1, 0, 0): 13.97,
    (2, 1, 2, 0, 0, 0): 16.61,
    (0, 0, 0, 0, 0, 2): 12.89,
    (1, 0, 0, 0, 0, 2): 15.79,
    (1, 1, 0, 0, 0, 2): 14.14,
    (0, 0, 3, 0, 0, 0): 3.24,
    (0, 0, 1, 2, 0, 0): 11.68,
    (0, 1, 2, 1, 0, 0): 3.01,
    (1, 1, 3, 0, 0, 0): 4.44,
    (0, 0, 0, 0, 0, 3): 4.41,
    (0, 0, 1, 0, 0, 2): 4.93,
    (0, 0, 0, 1, 0, 2): 8.39,
    (0, 1, 0, 0, 0, 3): 4.10,
    (0, 1, 1, 0, 0, 2): 3.88,
    (0, 1, 4, 0, 0, 0): 0.0,
}
_SURFACES_O = {
    (0, 0, 0, 1, 0, 0): 17.07,
    (1, 0, 1, 0, 0, 0): 20.23,
    (0, -1, 1, 0, 0, 0): 23.06,
    (0, 0, 2, 0, 0, 0): 9.23,
    (0, 0, 0, 0, 0, 2): 13.14,
}
_SURFACES_IN_THREE_RINGS = {  # element, then as above
    (7, 1, 0, 2, 0, 0, 0): 21.94,
    (7, 0, 0, 3, 0, 0, 0): 3.01,
    (8, 0, 0, 2, 0, 0, 0): 12.53,
}


def polar_surface(molecule: Molecule) -> float:
    """Returns the topological polar surface area: the sum of contributions of nitrogen and oxygen atoms.

    An atom whose bonds are not in the table of the paper contributes 30.5 (nitrogen) or 28.5 (oxygen), less 8.2 or 8.6 for each
    neighbour, and 1.5 more for each hydrogen, but not less than 0.

    Args:
        molecule: Any molecule.

    Returns:
        Square angstroms.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> polar_surface(parse("CC(=O)Nc1ccc(O)cc1"))  # paracetamol
        49.33

    References:
        Ertl, Rohde and Selzer (2000), Fast calculation of molecular polar surface area as a sum of fragment-based
        contributions, J. Med. Chem. 43(20), table 1. https://doi.org/10.1021/jm000942e
    """
    counts = np.zeros((molecule.n_atoms, AROMATIC + 1), int)
    np.add.at(counts, (molecule.bonds.ravel(), np.repeat(molecule.orders, 2)), 1)
    sizes = rings.smallest_rings(molecule.n_atoms, molecule.bonds, molecule.in_ring)
    in_three = {*molecule.bonds[sizes == 3].ravel().tolist()}
    total = 0.0
    for place in np.flatnonzero(np.isin(molecule.elements, (7, 8))).tolist():
        element, hydrogens = int(molecule.elements[place]), int(molecule.hydrogens[place])
        _, *of_orders = counts[place].tolist()
        key = (hydrogens, int(molecule.charges[place]), *of_orders[:3], of_orders[4])
        table, base, per_bond = (_SURFACES_N, 30.5, 8.2) if element == 7 else (_SURFACES_O, 28.5, 8.6)
        other = max(base - per_bond * sum(of_orders) + 1.5 * hydrogens, 0.0)
        surface = table.get(key, other)
        total += _SURFACES_IN_THREE_RINGS.get((element, *key), surface) if place in in_three else surface
    return round(total, 2)


def descriptors(molecule: Molecule) -> Float[np.ndarray, " descriptors"]:
    """Returns the numbers that `DESCRIPTORS` names: the polar surface in square angstroms, the weight in daltons, counts.

    Donors are hydrogens on nitrogen and oxygen, acceptors these atoms; a rotatable bond is a single bond outside rings between
    atoms with other neighbours. ``charged_atoms`` is the sum of the absolute charges, ``saturated_carbons`` have single bonds
    alone, and ``largest_ring`` is the largest of the smallest rings of the bonds, 8 for any larger one. Weights are the standard
    ones of the elements, also for a given isotope.

    Args:
        molecule: Any molecule.

    Returns:
        float32.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> named = dict(zip(DESCRIPTORS, descriptors(parse("CC(=O)Nc1ccc(O)cc1")).tolist()))
        >>> [round(named[name], 2) for name in ("polar_surface", "weight", "donors", "acceptors", "rings")]
        [49.33, 151.16, 2.0, 3.0, 1.0]

    References:
        Lipinski et al. (1997), Experimental and computational approaches to estimate solubility and permeability in drug
        discovery and development settings, Adv. Drug Deliv. Rev. 23 (donors and acceptors).
        https://doi.org/10.1016/S0169-409X(96)00423-1
    """
    elements, hydrogens, degrees, orders = molecule.elements, molecule.hydrogens, molecule.degrees, molecule.orders
    ends, is_polar = molecule.bonds, np.isin(elements, (7, 8))
    in_ring, has_double = np.zeros(len(elements), bool), np.zeros(len(elements), bool)
    in_ring[ends[molecule.in_ring].ravel()] = True
    has_double[ends[orders != 1].ravel()] = True
    weights = _WEIGHTS[np.minimum(elements, len(_WEIGHTS) - 1)]
    is_hydroxyl = (elements == 8) & (hydrogens == 1) & (degrees == 1)
    to_oxygen = ends[(orders == 2) & (elements[ends] == 8).any(axis=1)]
    carbonyls = np.zeros(len(elements), bool)
    carbonyls[to_oxygen[elements[to_oxygen] == 6]] = True
    single = orders == 1
    beside_carbonyl = carbonyls[ends].any(axis=1) & single
    is_acid = beside_carbonyl & (is_hydroxyl | ((elements == 8) & (molecule.charges < 0)))[ends].any(axis=1)
    is_amide = beside_carbonyl & (elements[ends] == 7).any(axis=1)
    of_element = {number: int((elements == number).sum()) for number in (6, 7, 8, 16, 15, 9, 17, 35, 53)}
    sizes = rings.smallest_rings(molecule.n_atoms, ends, molecule.in_ring)
    return np.array(
        [
            polar_surface(molecule),
            weights.sum() + _WEIGHTS[1] * hydrogens.sum(),
            len(elements),
            hydrogens[is_polar].sum(),
            is_polar.sum(),
            (single & ~molecule.in_ring & (degrees[ends] > 1).all(axis=1)).sum(),
            molecule.n_rings,
            molecule.is_aromatic.sum(),
            molecule.charges.sum(),
            np.abs(molecule.charges).sum(),
            (molecule.chirality > 0).sum(),
            ((elements == 6) & ~has_double).sum(),
            *of_element.values(),
            len(elements) - sum(of_element.values()),
            (orders == 2).sum(),
            (orders == 3).sum(),
            is_acid.sum(),
            is_hydroxyl.sum(),
            ((elements == 7) & in_ring).sum(),
            is_amide.sum(),
            sizes.max(initial=0),
            np.isin(elements, (9, 17, 35, 53)).sum(),
        ],
        np.float32,
    )

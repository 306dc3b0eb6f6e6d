"""Preprocessing of molecules: SMILES as padded graphs, descriptors and tokens; or as texts for a decoder."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxresearch import data
from jaxresearch.data import DataCard, Fitted, Preprocessor, require_texts
from jaxresearch.data.parts import Part
from jaxresearch.fields import text
from jaxresearch.fields.molecules import rings
from jaxresearch.fields.molecules.descriptors import descriptors
from jaxresearch.fields.molecules.grammar import AROMATIC, tokens
from jaxresearch.fields.molecules.parser import Molecule, parse_rows
from jaxresearch.fields.molecules.scaffolds import fingerprint

_ELEMENTS = (6, 7, 8, 16, 9, 17, 35, 53, 15, 5, 14, 1)  # those with a category of their own; all others share one
_LARGEST_CHARGE = 2
ATOM_LEVELS = (len(_ELEMENTS) + 1, 7, 5, 2 * _LARGEST_CHARGE + 1, 2, rings.LARGEST - 1, 2, 4)
"""Categories of an atom: element, bonds, hydrogens, charge, aromaticity, smallest ring, whether it is chiral, highest bond."""

N_BOND_KINDS = 4
"""Kinds of bonds: single, double, triple or higher, aromatic."""


def atom_categories(molecule: Molecule) -> Int[np.ndarray, "atoms columns"]:
    """Returns the categories of each atom, as `ATOM_LEVELS` counts them.

    Args:
        molecule: Any molecule.

    Returns:
        int8.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> atom_categories(parse("CO")).tolist()
        [[0, 1, 3, 2, 0, 0, 0, 0], [2, 1, 1, 2, 0, 0, 0, 0]]
    """
    elements = np.array([_ELEMENTS.index(one) if one in _ELEMENTS else len(_ELEMENTS) for one in molecule.elements])
    smallest = np.full(molecule.n_atoms, rings.LARGEST + 1)
    sizes = rings.smallest_rings(molecule.n_atoms, molecule.bonds, molecule.in_ring)
    np.minimum.at(smallest, molecule.bonds.ravel(), np.repeat(np.where(sizes, sizes, rings.LARGEST + 1), 2))
    highest = np.ones(molecule.n_atoms, int)
    np.maximum.at(highest, molecule.bonds.ravel(), np.repeat(_bond_kinds(molecule), 2))
    columns = (
        elements,
        molecule.degrees,
        molecule.hydrogens,
        molecule.charges + _LARGEST_CHARGE,
        molecule.is_aromatic,
        np.where(smallest > rings.LARGEST, 0, smallest - 2),
        molecule.chirality > 0,
        highest - 1,
    )
    capped = [np.clip(column, 0, n - 1) for column, n in zip(columns, ATOM_LEVELS, strict=True)]
    return np.stack(capped, axis=1).astype(np.int8)


def bond_matrix(molecule: Molecule) -> Int[np.ndarray, "atoms atoms"]:
    """Returns the kind of bond between each pair of atoms.

    Args:
        molecule: Any molecule.

    Returns:
        int8, symmetric: 0 none, 1 single, 2 double, 3 triple or higher, 4 aromatic.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> bond_matrix(parse("CC#N")).tolist()
        [[0, 1, 0], [1, 0, 3], [0, 3, 0]]
    """
    matrix = np.zeros((molecule.n_atoms, molecule.n_atoms), np.int8)
    one, other = molecule.bonds.T
    matrix[one, other] = matrix[other, one] = _bond_kinds(molecule)
    return matrix


def _bond_kinds(molecule: Molecule) -> Int[np.ndarray, " bonds"]:
    """Returns the kind of each bond, from 1."""
    return np.where(molecule.orders == AROMATIC, N_BOND_KINDS, np.minimum(molecule.orders, 3))


def molecule_graphs(*, n_atoms: int, length: int, n_most: int, n_bits: int, column: str = "smiles") -> Preprocessor:
    """Returns the preprocessor that encodes SMILES for networks that read graphs or sequences.

    =============  ======================  ============================================================================
    input          shape                   content
    =============  ======================  ============================================================================
    ``nodes``      ``(n, atoms, 8)``       `atom_categories`, -1 for padding
    ``edges``      ``(n, atoms, atoms)``   `bond_matrix`, 0 for padding
    ``tokens``     ``(n, length)``         tokens of the SMILES; the id after them is for others, the last is padding
    ``whole``      ``(n, 30 + n_bits)``    standardised logarithms of `DESCRIPTORS`, then of the `fingerprint`
    =============  ======================  ============================================================================

    The tokens, means and deviations are those of the training part. Values to predict are standardised.

    Args:
        n_atoms: Atoms per graph; the graph of a larger molecule is cut after them, its descriptors are not.
        length: Tokens per sequence; longer ones are cut.
        n_most: Largest number of tokens in the vocabulary.
        n_bits: Length of the fingerprint.
        column: Of the SMILES.

    Returns:
        A preprocessor.

    Raises:
        ValueError: When fitted, if there is no such column of texts; when applied, if a row is not SMILES, with its number.

    Example:
        >>> part = {"inputs": {"smiles": np.array(["CCO", "c1ccccc1"])}, "targets": np.array([0, 1])}
        >>> graphs = molecule_graphs(n_atoms=8, length=10, n_most=6, n_bits=16)
        >>> fitted = graphs.fit(part, DataCard(name="mine", source="memory"))
        >>> {name: entry.shape for name, entry in graphs.apply(fitted, part, training=True)["inputs"].items()}
        {'nodes': (2, 8, 8), 'edges': (2, 8, 8), 'tokens': (2, 10), 'whole': (2, 46)}
    """

    def fit(train: Part, card: DataCard) -> Fitted:
        require_texts(train, card, column)
        molecules, smiles = _molecules(train, column)
        known = text.fit_vocabulary(map(tokens, smiles), n_most=n_most).tokens
        n_larger = sum(molecule.n_atoms > n_atoms for molecule in molecules)
        return {
            **data.standard.fit({**train, "inputs": _described(molecules)}, card),
            "tokens": np.array(known),
            "n_larger": np.array(n_larger),
        }

    def apply(fitted: Fitted, part: Part, *, training: bool) -> Part:
        molecules, smiles = _molecules(part, column)
        prepared = data.standard.apply(fitted, {**part, "inputs": _described(molecules)}, training=training)
        vocabulary = text.Vocabulary(tuple(fitted["tokens"].tolist()))
        ids = [text.encode(vocabulary, tokens(one)) for one in smiles]
        bits = np.stack([fingerprint(molecule, n_bits=n_bits) for molecule in molecules])
        nodes, edges = padded_graphs(molecules, n_atoms=n_atoms)
        inputs = {
            "nodes": nodes,
            "edges": edges,
            "tokens": text.pad(ids, length=length, padding=n_most + 1),
            "whole": np.concatenate([prepared["inputs"], np.log1p(bits)], axis=1),
        }
        return {**prepared, "inputs": inputs}

    def describe(fitted: Fitted, card: DataCard) -> DataCard:
        unused = [f"<unused {i}>" for i in range(n_most - len(fitted["tokens"]))]
        names = (*fitted["tokens"].tolist(), "<unknown>", *unused, "<pad>")
        line = f"graphs are cut after {n_atoms} atoms; {int(fitted['n_larger']):,} training molecules have more"
        return dataclasses.replace(card, vocabulary=names, notes=(*card.notes, *([line] if fitted["n_larger"] else [])))

    return Preprocessor(fit, apply, data.standard.invert, describe)


def _molecules(part: Part, column: str) -> tuple[list[Molecule], list[str]]:
    """Returns the molecules of a part, and their SMILES."""
    smiles = [str(one) for one in part["inputs"][column]]
    return parse_rows(smiles, column=column), smiles


def _described(molecules: Sequence[Molecule]) -> np.ndarray:
    """Returns the descriptors on a scale of logarithms, which keeps the largest molecules near the others."""
    values = np.stack([descriptors(molecule) for molecule in molecules]).astype(np.float64)
    return np.sign(values) * np.log1p(np.abs(values))


def padded_graphs(
    molecules: Sequence[Molecule], *, n_atoms: int
) -> tuple[Int[np.ndarray, "n atoms columns"], Int[np.ndarray, "n atoms atoms"]]:
    """Returns molecules as nodes and edges of graphs with the same number of atoms.

    Args:
        molecules: One or more.
        n_atoms: Atoms per graph; larger molecules are cut after them.

    Returns:
        `atom_categories`, -1 for padding, and `bond_matrix`, 0 for padding; both int8.

    Example:
        >>> from jaxresearch.fields.molecules import parse
        >>> nodes, edges = padded_graphs([parse("CO")], n_atoms=3)
        >>> nodes[0, 2].tolist(), edges[0].tolist()
        ([-1, -1, -1, -1, -1, -1, -1, -1], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    """
    nodes = np.full((len(molecules), n_atoms, len(ATOM_LEVELS)), -1, np.int8)
    edges = np.zeros((len(molecules), n_atoms, n_atoms), np.int8)
    for place, molecule in enumerate(molecules):
        n = min(molecule.n_atoms, n_atoms)
        nodes[place, :n] = atom_categories(molecule)[:n]
        edges[place, :n, :n] = bond_matrix(molecule)[:n, :n]
    return nodes, edges


def smiles_texts(*, length: int, column: str = "smiles") -> Preprocessor:
    """Returns the preprocessor that makes of each molecule a text for a decoder: an end, the tokens of its SMILES, and an end.

    The vocabulary is that of the training part; the ids after it are those of other tokens, of the end and of the padding.
    ``fitted["n_bytes"]`` has the number of characters of each token; an end counts as one.

    Args:
        length: Tokens per text; longer ones are cut, and then have no end.
        column: Of the SMILES.

    Returns:
        A preprocessor; inputs and targets become int32 ``(n, length)``, with targets shifted by one token, and -1 for padding
        and other tokens, which are not scored.

    Raises:
        ValueError: When fitted, if there is no such column.

    Example:
        >>> part = {"inputs": {"smiles": np.array(["CCO", "c1ccccc1"])}, "targets": np.zeros(2)}
        >>> texts = smiles_texts(length=5)
        >>> fitted = texts.fit(part, DataCard(name="mine", source="memory"))
        >>> made = texts.apply(fitted, part, training=True)  # the vocabulary: c, 1, C, O, <unknown>, <end>, <pad>
        >>> made["inputs"].tolist(), made["targets"].tolist()
        ([[5, 2, 2, 3, 6], [5, 0, 1, 0, 0]], [[2, 2, 3, 5, -1], [0, 1, 0, 0, 0]])
    """

    def fit(train: Part, card: DataCard) -> Fitted:
        require_texts(train, card, column)
        known = text.fit_vocabulary(tokens(str(one)) for one in train["inputs"][column]).tokens
        return {"tokens": np.array(known), "n_bytes": np.array([*map(len, known), 0, 1, 0])}

    def apply(fitted: Fitted, part: Part, *, training: bool) -> Part:
        del training
        vocabulary = text.Vocabulary(tuple(fitted["tokens"].tolist()))
        unknown = len(vocabulary.tokens)
        end, padding = unknown + 1, unknown + 2
        ids = [text.encode(vocabulary, tokens(str(one))) for one in part["inputs"][column]]
        targets = text.pad([[*one, end] for one in ids], length=length, padding=-1)
        inputs = text.pad([[end, *one] for one in ids], length=length, padding=padding)
        inputs[:, 1:] = np.where(targets[:, 1:] < 0, padding, inputs[:, 1:])
        return {"inputs": inputs, "targets": np.where(targets == unknown, -1, targets)}

    def describe(fitted: Fitted, card: DataCard) -> DataCard:
        names = (*fitted["tokens"].tolist(), "<unknown>", "<end>", "<pad>")
        return dataclasses.replace(card, class_names=names, vocabulary=names)

    return Preprocessor(fit, apply, describe=describe)

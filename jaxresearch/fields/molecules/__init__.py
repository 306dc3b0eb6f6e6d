"""Molecules: the grammar of SMILES, graphs of atoms, scaffolds, descriptors, and networks that read them."""

from jaxresearch.fields.molecules.collect import SCAFFOLD, load_molecules, scaffold_names
from jaxresearch.fields.molecules.constraints import smiles_constraint
from jaxresearch.fields.molecules.descriptors import DESCRIPTORS, descriptors, polar_surface
from jaxresearch.fields.molecules.generation import Quality, checker, quality
from jaxresearch.fields.molecules.grammar import tokens
from jaxresearch.fields.molecules.parser import Molecule, parse, parse_rows, submolecule
from jaxresearch.fields.molecules.preprocess import (
    ATOM_LEVELS,
    N_BOND_KINDS,
    atom_categories,
    bond_matrix,
    molecule_graphs,
    padded_graphs,
    smiles_texts,
)
from jaxresearch.fields.molecules.readers import (
    BOTH,
    GRAPH,
    SEQUENCE,
    both_readers,
    graph_reader,
    loss_of_both,
    sequence_reader,
)
from jaxresearch.fields.molecules.scaffolds import environments, fingerprint, identity, scaffold, scaffold_atoms
from jaxresearch.fields.molecules.states import SmilesState
from jaxresearch.fields.molecules.valence import is_valid, normal_valences, require_valences

__all__ = [
    "ATOM_LEVELS",
    "BOTH",
    "DESCRIPTORS",
    "GRAPH",
    "Molecule",
    "N_BOND_KINDS",
    "Quality",
    "SCAFFOLD",
    "SEQUENCE",
    "SmilesState",
    "atom_categories",
    "bond_matrix",
    "both_readers",
    "checker",
    "descriptors",
    "environments",
    "fingerprint",
    "graph_reader",
    "identity",
    "is_valid",
    "load_molecules",
    "loss_of_both",
    "molecule_graphs",
    "normal_valences",
    "padded_graphs",
    "parse",
    "parse_rows",
    "polar_surface",
    "quality",
    "require_valences",
    "scaffold",
    "scaffold_atoms",
    "scaffold_names",
    "sequence_reader",
    "smiles_constraint",
    "smiles_texts",
    "submolecule",
    "tokens",
]

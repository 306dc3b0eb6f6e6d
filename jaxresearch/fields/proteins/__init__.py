"""Proteins: residues and states of secondary structure as numbers, chains as windows, and a baseline of local windows."""

from jaxresearch.fields.proteins.assessment import chain_accuracies, q3, q8, summary
from jaxresearch.fields.proteins.chains import (
    PROTEIN_STRUCTURE,
    chain_windows,
    joined_windows,
    load_chains,
    padded_chains,
    read_chains,
    windowed,
)
from jaxresearch.fields.proteins.pictures import drawing
from jaxresearch.fields.proteins.residues import (
    MASK,
    N_TOKENS,
    PADDING,
    RESIDUES,
    STATES,
    UNKNOWN,
    letters,
    merged,
    residues,
    states,
    three_states,
)
from jaxresearch.fields.proteins.windows import window_regression

__all__ = [
    "MASK",
    "N_TOKENS",
    "PADDING",
    "PROTEIN_STRUCTURE",
    "RESIDUES",
    "STATES",
    "UNKNOWN",
    "chain_accuracies",
    "chain_windows",
    "drawing",
    "joined_windows",
    "letters",
    "load_chains",
    "merged",
    "padded_chains",
    "q3",
    "q8",
    "read_chains",
    "residues",
    "states",
    "summary",
    "three_states",
    "window_regression",
    "windowed",
]

"""Experiments carried out: compiled once for all runs, advanced in chunks, evaluated at the end."""

from jaxresearch.execution.execute import (
    Keeping,
    Outcome,
    Progress,
    blank_state,
    chunk_ends,
    differentiate,
    execute,
    execute_all,
    predict,
)

__all__ = [
    "Keeping",
    "Outcome",
    "Progress",
    "blank_state",
    "chunk_ends",
    "differentiate",
    "execute",
    "execute_all",
    "predict",
]

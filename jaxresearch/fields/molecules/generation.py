"""What drawn SMILES are worth: how many are valid, different from each other, and new; on the host."""

import functools
from collections.abc import Callable, Collection
from typing import NamedTuple

from jaxresearch.fields.molecules.parser import parse
from jaxresearch.fields.molecules.scaffolds import identity
from jaxresearch.fields.molecules.valence import is_valid


class Quality(NamedTuple):
    """Fractions of drawn molecules.

    Attributes:
        valid: Of all texts.
        unique: Of the valid ones, counting each molecule once.
        novel: Of the unique ones, those that are not among the known.
        checked_by: What decided which are valid.
    """

    valid: float
    unique: float
    novel: float
    checked_by: str


def quality(texts: Collection[str], *, known: Collection[str]) -> Quality:
    """Returns how many of the texts are valid, unique and novel. Molecules are compared without their chirality.

    RDKit (extra ``chemistry``) decides what is valid if it is installed, else `is_valid`.

    Args:
        texts: One or more drawn texts.
        known: SMILES of the molecules that are not new, such as the training part.

    Returns:
        Fractions; 0 where there is nothing to count.

    Raises:
        ValueError: If there is no text, or a known molecule is not SMILES.

    Example:
        >>> found = quality(["CCO", "OCC", "CCC", "C("], known=["C(O)C"])
        >>> found.valid, round(found.unique, 3), found.novel
        (0.75, 0.667, 0.5)
    """
    if not texts:
        raise ValueError("texts must hold one or more, got none. Draw some molecules.")
    check, name = checker()
    valid = [one for one in texts if check(one)]
    found = {_identity(one) for one in valid}
    new = found - {_identity(one) for one in known}
    return Quality(len(valid) / len(texts), len(found) / max(len(valid), 1), len(new) / max(len(found), 1), name)


def checker() -> tuple[Callable[[str], bool], str]:
    """Returns the function that decides whether a text is a valid molecule, and its name.

    Returns:
        RDKit's, if it is installed, together with `parse`; else `is_valid`.

    Example:
        >>> check, name = checker()
        >>> check("CCO"), check("C(")
        (True, False)
    """
    try:
        import rdkit
        from rdkit import Chem, rdBase
    except ImportError:
        return is_valid, "the parser and valences of jaxresearch.fields.molecules (RDKit is not installed)"
    rdBase.DisableLog("rdApp.*")

    def check(smiles: str) -> bool:
        return bool(smiles) and Chem.MolFromSmiles(smiles) is not None and _parses(smiles)

    return check, f"RDKit {rdkit.__version__}"


@functools.lru_cache(maxsize=32_768)  # known molecules are the same each time
def _identity(smiles: str) -> str:
    """Returns the name of a molecule."""
    return identity(parse(smiles))


def _parses(smiles: str) -> bool:
    """Returns whether a text parses."""
    try:
        return bool(parse(smiles).n_atoms)
    except ValueError:
        return False

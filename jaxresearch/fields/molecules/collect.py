"""Tables with a column of SMILES: every row is parsed, and scaffolds may split them."""

import dataclasses
from typing import Any

import numpy as np

from jaxresearch import data
from jaxresearch.data import Column, Dataset, Split, require_columns
from jaxresearch.data.collected import Collected
from jaxresearch.fields.molecules.parser import parse
from jaxresearch.fields.molecules.scaffolds import identity, scaffold

SCAFFOLD = "scaffold"  # the column of groups that is made from the molecules
_ACYCLIC = "no ring"  # the scaffold of all molecules without rings


def load_molecules(
    source: str, *, target: str | None = None, split: Split | None = None, column: str = "smiles", **reading: Any
) -> Dataset:
    """Returns the molecules of a source, as `jaxresearch.data.load` does, with only their column of SMILES as an input.

    If the data are split by the group ``scaffold``, the Bemis-Murcko scaffolds of the molecules are the groups: a scaffold is in
    one part. All molecules without rings are one group.

    Args:
        source: ``b3db``, ``aqsoldb``, or any table.
        target: As for `jaxresearch.data.load`.
        split: The rule for the test part; a column of groups or times stays.
        column: Of the SMILES.
        **reading: Further options of `jaxresearch.data.load`.

    Returns:
        Inputs ``{column: ...}``, strings.

    Raises:
        ValueError: If there is no such column, a row is not SMILES (with its number, counted from 1), all molecules have one
            scaffold and are to be split by it, or as for `jaxresearch.data.load`.

    Example:
        >>> rule = Split(by="group", column="scaffold")
        >>> molecules = load_molecules("b3db", split=rule)
        >>> bool({*molecules.train["groups"].tolist()} & {*molecules.test["groups"].tolist()})
        False
    """
    by_scaffold = split is not None and split.column == SCAFFOLD
    kept = {column} | ({split.column} if split is not None and split.column else set())

    def derive(collected: Collected) -> Collected:
        require_columns(collected.parts["train"], collected.card, column)
        parts = {name: {**part, "inputs": {**part["inputs"]}} for name, part in collected.parts.items()}
        for name, part in parts.items():
            _require_molecules(part["inputs"][column], column, name)
            if by_scaffold:
                part["inputs"][SCAFFOLD] = scaffold_names(part["inputs"][column])
        columns = (*collected.card.columns, *([Column(name=SCAFFOLD, kind="id")] if by_scaffold else []))
        columns = tuple(one for one in columns if one.name in kept)
        names = tuple(one.name for one in columns)
        for part in parts.values():
            part["inputs"] = {name: part["inputs"][name] for name in names}
        if by_scaffold:
            _require_scaffolds(parts)
        card = dataclasses.replace(collected.card, columns=columns, feature_names=names, feature_shape=(len(names),))
        return Collected(parts, card)

    if source not in data.BUNDLED:
        reading["types"] = {column: "text", **(reading.get("types") or {})}
    return data.load(source, target=target, split=split, derive=derive, **reading)


def scaffold_names(smiles: np.ndarray) -> np.ndarray:
    """Returns the Bemis-Murcko scaffold of each molecule, by its `identity`.

    Args:
        smiles: One per molecule.

    Returns:
        Strings, equal for equal scaffolds; ``"no ring"`` for molecules without rings.

    Example:
        >>> first, second, third = scaffold_names(np.array(["Cc1ccccc1", "Oc1ccccc1", "CCO"]))
        >>> bool(first == second), str(third)
        (True, 'no ring')
    """
    return np.array([identity(scaffold(parse(str(one)))) or _ACYCLIC for one in smiles])


def _require_molecules(smiles: np.ndarray, column: str, part: str) -> None:
    """Raises an error with the row of the first text that is not SMILES."""
    if smiles.dtype.kind not in "UT":
        raise ValueError(f"column {column} must be SMILES, got {smiles.dtype}. Pass --types {column}=text.")
    place = "" if part == "train" else f" of the {part} part"
    for row, one in enumerate(smiles):
        try:
            parse(str(one))
        except ValueError as error:
            raise ValueError(f"row {row + 1}{place}, column {column}: {error}") from error


def _require_scaffolds(parts: dict[str, Any]) -> None:
    """Raises if all molecules have the same scaffold, so that one part would be empty."""
    found = {one for part in parts.values() for one in part["inputs"][SCAFFOLD].tolist()}
    if len(found) < 2:
        n = sum(len(part["targets"]) for part in parts.values())
        raise ValueError(
            f"molecules must have two scaffolds or more to be split by scaffold, got one in all {n:,} rows, so that the test "
            "part would be empty. Leave --group scaffold out."
        )

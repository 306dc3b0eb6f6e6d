"""Tables with a column of SMILES: every row is parsed, and scaffolds may split them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import data
from jaxresearch.data import Column, Dataset, Split, require_columns, unused_notes
from jaxresearch.data.collected import Collected
from jaxresearch.data.files.tables import TABLES, is_table
from jaxresearch.fields.molecules.parser import parse, parse_rows
from jaxresearch.fields.molecules.scaffolds import identity, scaffold
from jaxresearch.fields.molecules.valence import is_valid

SCAFFOLD = "scaffold"  # the column of groups that is made from the molecules
_ACYCLIC = "no ring"  # the scaffold of all molecules without rings


def load_molecules(
    source: str, *, target: str | None = None, split: Split | None = None, column: str = "smiles", **reading: Any
) -> Dataset:
    """Returns the molecules of a source, as `jaxresearch.data.load` does, with only their column of SMILES as an input.

    If the data are split by the group ``scaffold``, and have no column of that name, the Bemis-Murcko scaffolds of the molecules
    are the groups: a scaffold is in one part. All molecules without rings are one group. The card notes a column of that name
    in place of them, and the columns that are left out.

    Args:
        source: ``b3db``, ``aqsoldb``, or any table.
        target: As for `jaxresearch.data.load`.
        split: The rule for the test part; a column of groups or times stays.
        column: Of the SMILES.
        **reading: Further options of `jaxresearch.data.load`.

    Returns:
        Inputs ``{column: ...}``, strings.

    Raises:
        ValueError: If there is no such column, or no line of names above the molecules; a row is not SMILES (with its number,
            counted from 1); all molecules have one scaffold and are to be split by it; or as for `jaxresearch.data.load`.

    Example:
        >>> rule = Split(by="group", column="scaffold")
        >>> molecules = load_molecules("b3db", split=rule)
        >>> bool({*molecules.train["groups"].tolist()} & {*molecules.test["groups"].tolist()})
        False
    """
    if Path(source).is_file() and not is_table(source):
        raise ValueError(
            f"molecules must be in a table ({TABLES}) with the column {column}, got {source}. Write their SMILES into one, below "
            f"a first line {column}."
        )
    kept = {column} | ({split.column} if split is not None and split.column else set())

    def derive(collected: Collected) -> Collected:
        _require_names(collected, column)
        require_columns(collected.parts["train"], collected.card, column)
        parts = {name: {**part, "inputs": {**part["inputs"]}} for name, part in collected.parts.items()}
        columns = {one.name: one for one in collected.card.columns if one.name in kept}
        by_scaffold = SCAFFOLD in kept and SCAFFOLD not in columns
        for name, part in parts.items():
            smiles = part["inputs"][column] = _as_words(part["inputs"][column], columns[column])
            _require_molecules(smiles, column, name)
            if by_scaffold:
                part["inputs"][SCAFFOLD] = scaffold_names(smiles)
        # A category's note is on words that differ in case alone; in SMILES, c and C are different atoms.
        columns[column] = Column(name=column, kind="text")
        if by_scaffold:
            columns[SCAFFOLD] = Column(name=SCAFFOLD, kind="id")
            _require_scaffolds(parts)
        names, card = tuple(columns), collected.card
        others = (name for name in card.feature_names if name not in kept)
        notes = (*card.notes, *unused_notes(card, others, used=[column]))
        if SCAFFOLD in kept and not by_scaffold:
            notes += (f"groups are those of the table's column {SCAFFOLD}; rename it to have scaffolds computed",)
        for part in parts.values():
            part["inputs"] = {name: part["inputs"][name] for name in names}
        schema = {"columns": tuple(columns.values()), "feature_names": names, "feature_shape": (len(names),)}
        return Collected(parts, dataclasses.replace(card, **schema, notes=notes))

    return data.load(source, target=target, split=split, derive=derive, **reading)


def _require_names(collected: Collected, column: str) -> None:
    """Raises for a list of molecules without a line of names, whose first molecule was read as the name of their column."""
    inputs, columns = collected.parts["train"]["inputs"], collected.card.columns
    if column in [one.name for one in columns]:
        return
    for one in columns:
        if one.kind in ("category", "text", "id") and is_valid(one.name):
            below = _as_words(inputs[one.name], one)
            if is_valid(str(below[0])):
                raise ValueError(
                    f"{collected.card.source} must name its columns in the first line, got the molecule {one.name}. Add a line "
                    f"above it: {column} for the SMILES."
                )


def _as_words(values: np.ndarray, column: Column) -> np.ndarray:
    """Returns a column as words: where they repeat, or are few, it was read as a category."""
    if column.kind != "category":
        return values
    return np.array([*column.levels, ""], np.dtypes.StringDType())[values]  # the index of a missing cell is -1


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
    parse_rows(smiles, column=column, of="" if part == "train" else f"the {part} part")


def _require_scaffolds(parts: dict[str, Any]) -> None:
    """Raises if all molecules have the same scaffold, so that one part would be empty."""
    found = {one for part in parts.values() for one in part["inputs"][SCAFFOLD].tolist()}
    if len(found) < 2:
        n = sum(len(part["targets"]) for part in parts.values())
        raise ValueError(
            f"molecules must have two scaffolds or more to be split by scaffold, got one in all {n:,} rows, so that the test "
            "part would be empty. Leave --group scaffold out."
        )

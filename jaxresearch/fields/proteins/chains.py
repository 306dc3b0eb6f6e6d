"""Protein chains with their secondary structure: read from tables, and cut into windows."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxresearch.data.dataset import DataCard, Dataset, require_digests
from jaxresearch.data.files.cells import Cells
from jaxresearch.data.files.tables import TABLES, column_advice, is_table, read_table, table_name
from jaxresearch.data.needed import unused_notes
from jaxresearch.data.parts import Part
from jaxresearch.data.preprocess import Fitted, Preprocessor
from jaxresearch.fields.proteins.residues import PADDING, RESIDUES, UNLIKE, residues, states

NONE = -1  # the state where there is no residue, or none to predict
_FILE = "protein_dssp8.tsv.xz"
_COLUMNS = ("split", "sequence", "dssp8")
_PARTS = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
PROTEIN_STRUCTURE = DataCard(
    name="protein_structure",
    source="bundled; ProMod3 (the Debian package promod3-data), entries of the Protein Data Bank",
    licence="Apache-2.0",
    citation="Studer et al. (2021), PLoS Comput. Biol. 17(1), doi:10.1371/journal.pcbi.1008667; Kabsch and Sander (1983)",
    sha256=((_FILE, "646858868a7e756fc1a2c04a22cb31f41ed1d0f8bdd58758ad36ba56c7f0b6dc"),),
)


def load_chains(source: str | Path, *, target: str | None = None, **reading: Any) -> Dataset:
    """Returns protein chains in the parts that the source declares: how an experiment collects them.

    Args:
        source: ``protein_structure``, bundled: 4,000 chains to train on, 493 for validation, 500 for testing, none of which has a
            relative in another part. Or a table as for `read_chains`.
        target: Must be left out: the structure is predicted.
        **reading: Must be left out, except for the cipher of a cache, which chains do not have.

    Returns:
        Parts as from `read_chains`.

    Raises:
        ValueError: If there are options or no such table, or as for `read_chains`.

    Example:
        >>> chains = load_chains("protein_structure")
        >>> {name: len(part["inputs"]) for name, part in chains.parts().items()}
        {'train': 4000, 'validation': 493, 'test': 500}

    References:
        Studer et al. (2021), ProMod3 - A versatile homology modelling toolbox, PLoS Comput. Biol. 17(1) (the bundled chains).
        https://doi.org/10.1371/journal.pcbi.1008667
    """
    if asked := ({"target"} if target else set()) | (reading.keys() - {"cipher"}):
        raise ValueError(
            f"{', '.join(sorted(asked))} must be left out with protein chains, got {source}. Their table has a column split."
        )
    if str(source) == PROTEIN_STRUCTURE.name:
        folder = resources.files("jaxresearch.data") / "archives" / PROTEIN_STRUCTURE.name
        with resources.as_file(folder / _FILE) as path:
            chains = read_chains(path)
        require_digests(chains.card, dict(PROTEIN_STRUCTURE.sha256))
        return chains._replace(card=dataclasses.replace(chains.card, **_described(PROTEIN_STRUCTURE)))
    if not is_table(str(source)) or not Path(source).is_file():
        raise ValueError(
            f"chains must be {PROTEIN_STRUCTURE.name} or an existing table ({TABLES}), got {source}. Name another file."
        )
    return read_chains(source)


def _described(card: DataCard) -> dict[str, Any]:
    """Returns where the data of a card come from, and its notes."""
    return {name: getattr(card, name) for name in ("name", "source", "licence", "citation", "notes")}


def read_chains(path: str | Path) -> Dataset:
    r"""Returns the protein chains of a table, a row for each.

    =============  =========================================================================
    column         holds
    =============  =========================================================================
    ``split``      ``train``, ``valid`` or ``test``; the part for validation may be left out
    ``sequence``   the amino acids, as for `residues`
    ``dssp8``      the state of each residue, as for `states`; at the ends of a cell, C or ``-``
                   for none, since blanks around a cell are not read
    =============  =========================================================================

    Args:
        path: A table; other columns are not read, which the card notes, as it does letters that are read as others.

    Returns:
        Inputs ``(chains, longest)``, residues followed by `PADDING`, and targets, states followed by -1; both int8.

    Raises:
        ValueError: If the table lacks a column or a part; if a row has another word for its part, a letter that is no amino acid
            or state, or unlike numbers of them. The message names the row, counted from 1.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.csv"
        >>> _ = path.write_text("split,sequence,dssp8\ntrain,ARN,CHH\ntest,AR,EE\n")
        >>> chains = read_chains(path)
        >>> chains.train["inputs"].tolist(), chains.test["targets"].tolist()
        ([[0, 1, 2]], [[3, 3, -1]])
    """
    table = read_table(Path(path))
    if missing := [name for name in _COLUMNS if name not in table.columns]:
        advice = column_advice(missing[0], table.columns)
        raise ValueError(f"{path} must have the columns {', '.join(_COLUMNS)}, got no {missing[0]}. {advice} Add it.")
    parts, sequences, structures = (_words(table.columns[name]) for name in _COLUMNS)
    rows = [
        _chain(row, *cells, path=path) for row, cells in enumerate(zip(parts, sequences, structures, strict=True), 1)
    ]
    longest = max((len(chain) for _, chain, _ in rows), default=0)
    held = {part: _stacked(rows, part, longest) for part in dict.fromkeys(_PARTS.values())}
    if missing := [part for part in ("train", "test") if not len(held[part]["inputs"])]:
        raise ValueError(
            f"{path} must have rows whose split is {missing[0]}, got none. Add chains, or change the split."
        )
    validation = held["validation"] if len(held["validation"]["inputs"]) else None
    card = DataCard(name=table_name(Path(path)), source=str(path), sha256=table.sha256, feature_shape=(longest,))
    notes = (*table.notes, *unused_notes(card, table.columns, used=_COLUMNS), *_letter_notes(sequences, structures))
    return Dataset(held["train"], held["test"], validation, dataclasses.replace(card, notes=notes))


def _letter_notes(sequences: Sequence[str], structures: Sequence[str]) -> list[str]:
    """Returns notes on letters that are read as others: small ones as capitals, some amino acids as X."""
    small = {
        name: sum(word != word.upper() for word in words)
        for name, words in zip(_COLUMNS[1:], (sequences, structures), strict=True)
    }
    notes = [
        f"small letters in {n:,} {'cell' if n == 1 else 'cells'} of column {name} are read as capitals"
        for name, n in small.items()
        if n
    ]
    counts = Counter("".join(sequences).upper())
    unlike = ", ".join(f"{counts[letter]:,} {letter}" for letter in sorted(UNLIKE) if counts[letter])
    return [*notes, *[f"residues that are read as X, an unknown one: {unlike}"] * bool(unlike)]


def _words(cells: Cells | np.ndarray) -> list[str]:
    """Returns the words of a column, one per row."""
    return [cells.words[code] for code in cells.codes] if isinstance(cells, Cells) else [str(cell) for cell in cells]


def _chain(
    row: int, part: str, sequence: str, structure: str, *, path: str | Path
) -> tuple[str, Int[np.ndarray, " length"], Int[np.ndarray, " length"]]:
    """Returns the part, the residues and the states of a row; raises with its number if one of them is wrong."""
    if part not in _PARTS:
        raise ValueError(f"split in row {row} of {path} must be train, valid or test, got {part!r}. Correct it.")
    chain = residues(sequence, name=f"sequence in row {row} of {path}")
    labels = states(structure, name=f"dssp8 in row {row} of {path}")
    if len(chain) != len(labels):
        raise ValueError(
            f"row {row} of {path} must have a state for each residue, got {len(chain)} residues and {len(labels)} states. "
            "Correct it (at the ends, write C or - for a blank) or drop the chain."
        )
    return _PARTS[part], chain, labels


def _stacked(rows: list[tuple[str, np.ndarray, np.ndarray]], part: str, longest: int) -> Part:
    """Returns the chains of a part as rows of one length."""
    own = [(chain, labels) for name, chain, labels in rows if name == part]
    inputs = _of_one_length([chain for chain, _ in own], longest, PADDING)
    return {"inputs": inputs, "targets": _of_one_length([labels for _, labels in own], longest, NONE)}


def _of_one_length(chains: Sequence[np.ndarray], longest: int, fill: int) -> np.ndarray:
    """Returns chains as the rows of an array, filled up at the end."""
    made = np.full((len(chains), longest), fill, np.int8)
    for row, chain in zip(made, chains, strict=True):
        row[: len(chain)] = chain
    return made


def padded_chains(sequences: Sequence[str]) -> Int[np.ndarray, "chains longest"]:
    """Returns amino-acid sequences as one array, what the models of `windowed` chains predict for.

    Args:
        sequences: As for `residues`, of any lengths.

    Returns:
        Residues followed by `PADDING`, int8.

    Raises:
        ValueError: If they are no list of sequences, or as `residues`, with the number of the sequence, from 1.

    Example:
        >>> padded_chains(["ARN", "A"]).tolist()
        [[0, 1, 2], [0, 22, 22]]
    """
    if isinstance(sequences, str) or not len(sequences):
        given = "one string" if isinstance(sequences, str) else "none"
        raise ValueError(f"sequences must be a list of one or more strings, got {given}. Pass [sequence].")
    chains = [residues(sequence, name=f"sequence {place}") for place, sequence in enumerate(sequences, 1)]
    return _of_one_length(chains, max(map(len, chains)), PADDING)


def chain_windows(n_residues: int, *, length: int, context: int) -> Int[np.ndarray, "windows 3"]:
    """Returns how a chain is cut: where each window starts, and the first and last end of the residues that it is about.

    A chain that fits is one window. Others are cut into as few as possible, evenly spaced; where two of them overlap, each
    residue belongs to the one in which it is further from the cut. Every residue belongs to exactly one window, and has at
    least ``context`` neighbours in it on each side, where the chain has.

    Args:
        n_residues: Length of the chain.
        length: Residues of a window.
        context: Residues beside a cut that a window is not about, at least; 0 or more, and less than half of ``length``.

    Returns:
        A row for each window: its start, the first of its own residues, and the one after the last, as places in the chain.

    Raises:
        ValueError: If the context is out of range, or there is no residue.

    Example:
        >>> chain_windows(10, length=6, context=1).tolist()
        [[0, 0, 5], [4, 5, 10]]
        >>> chain_windows(4, length=6, context=1).tolist()
        [[0, 0, 4]]
    """
    if not 0 <= context < length / 2:
        raise ValueError(f"context must be 0 or more and less than half of {length} residues, got {context}. Pass 16.")
    if n_residues < 1:
        raise ValueError(f"a chain must have a residue or more, got {n_residues}. Leave it out.")
    if n_residues <= length:
        return np.array([[0, 0, n_residues]])
    n_windows = -(-(n_residues - 2 * context) // (length - 2 * context))
    starts = np.round(np.linspace(0, n_residues - length, n_windows)).astype(int)
    cuts = (starts[1:] + starts[:-1] + length) // 2
    return np.stack([starts, np.append(0, cuts), np.append(cuts, n_residues)], axis=1)


def joined_windows(
    values: np.ndarray, chains: Int[np.ndarray, "chains longest"], *, length: int, context: int
) -> list[np.ndarray]:
    """Returns what was predicted for windows, chain by chain: each residue from the window that is about it.

    Args:
        values: ``(windows, length, ...)``, of all the windows of `windowed`.
        chains: Residues followed by `PADDING`, as from `padded_chains`.
        length: Residues of a window.
        context: As for `windowed`.

    Returns:
        For each chain, ``(residues, ...)``.

    Raises:
        ValueError: If the chains are not cut into as many windows.

    Example:
        >>> chains = padded_chains(["ARND", "AR"])
        >>> cut = windowed(length=3, context=1).apply({}, {"inputs": chains}, training=False)["inputs"]
        >>> cut.tolist(), [chain.tolist() for chain in joined_windows(cut, chains, length=3, context=1)]
        ([[0, 1, 2], [1, 2, 3], [0, 1, 22]], [[0, 1, 2, 3], [0, 1]])
    """
    cuts = [chain_windows(int(n), length=length, context=context) for n in (chains != PADDING).sum(axis=1)]
    ends = np.cumsum([len(of_chain) for of_chain in cuts])
    if np.shape(values)[:2] != (ends[-1], length):
        raise ValueError(
            f"values must be of {ends[-1]} windows of {length} residues, got shape {np.shape(values)}. Predict for these chains."
        )
    return [
        np.concatenate(
            [window[first - start : end - start] for window, (start, first, end) in zip(own, cut, strict=True)]
        )
        for own, cut in zip(np.split(values, ends[:-1]), cuts, strict=True)
    ]


def windowed(*, length: int, context: int) -> Preprocessor:
    """Returns the preprocessor that cuts chains into windows by `chain_windows`; the windows of a chain are one group.

    Args:
        length: Residues of a window.
        context: Residues beside a cut that a window is not about, at least.

    Returns:
        A preprocessor of parts as from `read_chains`. Inputs become tokens ``(windows, length)``, targets states of the same
        shape with -1 where a residue belongs to another window, and ``groups`` the number of the chain in its part.

    Example:
        >>> part = {"inputs": np.array([[0, 1, 2, 3]], np.int8), "targets": np.array([[7, 0, 0, 7]], np.int8)}
        >>> cut = windowed(length=3, context=1).apply({}, part, training=True)
        >>> cut["inputs"].tolist(), cut["targets"].tolist(), cut["groups"].tolist()
        ([[0, 1, 2], [1, 2, 3]], [[7, 0, -1], [-1, 0, 7]], [0, 0])
    """

    def apply(fitted: Fitted, part: Part, *, training: bool) -> Part:
        del fitted, training
        lengths = (part["inputs"] != PADDING).sum(axis=1)
        cuts = [chain_windows(int(n), length=length, context=context) for n in lengths]
        chains = np.repeat(np.arange(len(cuts)), [len(of_chain) for of_chain in cuts])
        starts, first, end = np.concatenate(cuts).T[:, :, None]
        places = starts + np.arange(length)
        beyond = ((0, 0), (0, length))  # a short chain may end before its window
        made = {"inputs": np.pad(part["inputs"], beyond, constant_values=PADDING)[chains[:, None], places]}
        if "targets" in part:
            labels = np.pad(part["targets"], beyond, constant_values=NONE)[chains[:, None], places]
            made["targets"] = np.where((places >= first) & (places < end), labels, np.int8(NONE))
        return {**made, "groups": chains.astype(np.int32)}

    def describe(fitted: Fitted, card: DataCard) -> DataCard:
        del fitted
        notes = (*card.notes, f"examples are windows of {length} residues at most, into which the chains are cut")
        return dataclasses.replace(card, vocabulary=(*RESIDUES, "X", "<mask>", "<pad>"), padding=PADDING, notes=notes)

    return Preprocessor(apply=apply, describe=describe)

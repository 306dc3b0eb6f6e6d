"""Motifs from JASPAR files: how often each base stands at each position of a binding site."""

import dataclasses
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxresearch.data.bundled import read_bundled
from jaxresearch.data.dataset import DataCard, file_digest

Motifs = dict[str, Float[np.ndarray, "width 4"]]

_FILE = "motifs.jaspar"
_SHA256 = "6d625406b1ab445fe0c71cfde34380af25f5ca79641efc48d8d8989f85114db7"
JASPAR = DataCard(
    name="jaspar",
    source="bundled; JASPAR 2024, MA0466.4, MA0139.2, MA0506.3 and MA0080.7",
    licence="CC BY 4.0",
    citation="Rauluseviciute et al. (2024), Nucleic Acids Res. 52(D1), doi:10.1093/nar/gkad1059",
    sha256=((_FILE, _SHA256),),
)
_ROW = re.compile(r"([ACGT])\s*\[?\s*([^\[\]]*?)\s*\]?")


def jaspar() -> Motifs:
    """Returns four motifs of JASPAR 2024, bundled with the package: CEBPB, CTCF, Nrf1 and Spi1.

    Returns:
        Counts by name.

    Raises:
        ValueError: If the file is not the original one, by its SHA-256.

    Example:
        >>> {name: len(counts) for name, counts in jaspar().items()}
        {'CEBPB': 10, 'CTCF': 15, 'Nrf1': 12, 'Spi1': 13}

    References:
        Rauluseviciute et al. (2024), JASPAR 2024: 20th anniversary of the open-access database of transcription factor binding
        profiles, Nucleic Acids Res. 52(D1). https://doi.org/10.1093/nar/gkad1059
    """
    return parse_motifs(read_bundled("jaspar", _FILE, sha256=_SHA256).decode(), name=_FILE)


def load_motifs(source: str | Path) -> tuple[Motifs, DataCard]:
    r"""Returns motifs and a card that describes their source.

    Args:
        source: ``jaspar``, or a file in JASPAR format.

    Returns:
        Counts by name, and the card; its classes are sequences with a shuffled and with a true instance.

    Raises:
        ValueError: If there is no such file, or it does not parse.
        OSError: If it cannot be read.

    Example:
        >>> motifs, card = load_motifs("jaspar")
        >>> list(motifs), card.class_names
        (['CEBPB', 'CTCF', 'Nrf1', 'Spi1'], ('decoy', 'motif'))
    """
    classes = ("decoy", "motif")
    if str(source) == JASPAR.name:
        return jaspar(), dataclasses.replace(JASPAR, class_names=classes)
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"motifs must be {JASPAR.name} or a file in JASPAR format; {source} is no file. Name another.")
    digests = ((path.name, file_digest(path)),)
    return read_motifs(path), DataCard(name=path.stem, source=str(path), sha256=digests, class_names=classes)


def read_motifs(path: str | Path) -> Motifs:
    r"""Returns the motifs of a file in JASPAR format.

    Args:
        path: The file.

    Returns:
        Counts by name, as `parse_motifs`.

    Raises:
        ValueError: If the file does not parse.
        OSError: If it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.jaspar"
        >>> _ = path.write_text(">MA0001.1 mine\nA [3 0]\nC [0 1]\nG [0 2]\nT [1 1]\n")
        >>> read_motifs(path)["mine"].tolist()
        [[3.0, 0.0, 0.0, 1.0], [0.0, 1.0, 2.0, 1.0]]
    """
    return parse_motifs(Path(path).read_text(encoding="utf-8", errors="replace"), name=str(path))


def parse_motifs(text: str, *, name: str = "text") -> Motifs:
    r"""Returns motifs in JASPAR format: a header ``>ID name``, then a row of counts for each of A, C, G and T.

    Args:
        text: One or more motifs. Brackets around the counts and blank lines may be left out.
        name: Of the file, for messages.

    Returns:
        Counts, or frequencies, of A, C, G and T at each position, by name of the motif (its ID if there is no name).

    Raises:
        ValueError: If a line does not parse, a motif lacks a row or a position has no counts; the message names the line.

    Example:
        >>> parse_motifs(">MA0001.1 mine\nA [3 0]\nC [0 1]\nG [0 2]\nT [1 1]\n")["mine"].tolist()
        [[3.0, 0.0, 0.0, 1.0], [0.0, 1.0, 2.0, 1.0]]
        >>> parse_motifs(">MA0001.1 mine\nA [3 0]\nN [0 1]\nG [0 2]\nT [1 1]\n")
        Traceback (most recent call last):
        ...
        ValueError: line 3 of text must be a row of counts for C, such as C [3 0 12], got 'N [0 1]'. Correct it.

    References:
        Rauluseviciute et al. (2024), as in `jaspar`; https://jaspar.elixir.no/docs describes the format.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise ValueError(
            f"{name} must hold a motif in JASPAR format; it is empty. Start it with a header, as >ID name."
        )
    motifs: Motifs = {}
    for start in range(0, len(lines), 5):
        number, header = lines[start]
        words = header.removeprefix(">").split()
        if not header.startswith(">") or not words:
            raise ValueError(
                f"line {number} of {name} must be a header, as >MA0139.2 CTCF, got {header[:40]!r}. Correct it."
            )
        if words[-1] in motifs:
            raise ValueError(f"line {number} of {name} must name a new motif, got {words[-1]!r} twice. Rename one.")
        motifs[words[-1]] = _counts(lines[start + 1 : start + 5], words[-1], name)
    return motifs


def _counts(lines: list[tuple[int, str]], motif: str, name: str) -> Float[np.ndarray, "width 4"]:
    """Returns the counts of a motif from its four rows."""
    if len(lines) < 4:
        raise ValueError(
            f"motif {motif} of {name} must have the four rows A, C, G and T, got {len(lines)}. Add the others."
        )
    rows: list[list[float]] = []
    for (number, line), letter in zip(lines, "ACGT", strict=True):
        row = _row(line, letter)
        if row is None:
            raise ValueError(
                f"line {number} of {name} must be a row of counts for {letter}, such as {letter} [3 0 12], got {line[:40]!r}. "
                "Correct it."
            )
        if rows and len(row) != len(rows[0]):
            raise ValueError(
                f"line {number} of {name} must have {len(rows[0])} counts, as the row of A, got {len(row)}. Correct it."
            )
        rows.append(row)
    counts = np.array(rows).T
    if not (counts.sum(axis=1) > 0).all():
        place = int(np.argmin(counts.sum(axis=1) > 0)) + 1
        raise ValueError(
            f"motif {motif} of {name} must have counts at each position, got only zeros at position {place}. Leave it out."
        )
    return counts


def _row(line: str, letter: str) -> list[float] | None:
    """Returns the counts of one row; None if it is not one of this letter."""
    found = _ROW.fullmatch(line)
    if found is None or found[1] != letter:
        return None
    try:
        row = [float(word) for word in found[2].split()]
    except ValueError:
        return None
    return row if row and all(0 <= count < float("inf") for count in row) else None

"""Genomes from FASTA files, read completely or not at all."""

import dataclasses
from pathlib import Path

import numpy as np

from jaxresearch.data.bundled import read_bundled
from jaxresearch.data.dataset import DataCard, Dataset, Split, check, file_digest
from jaxresearch.data.files.tables import is_table, unpacked
from jaxresearch.data.splits import split
from jaxresearch.fields.dna.bases import AMBIGUOUS, bases, windows

_TEST_FRACTION = 0.1
_CHROMOSOME_3 = "human_chr3_42-44mb.fa.xz"
_SHA256 = "6c92e7ff10456b4f390b4b6aec2ad5aff3d190f2707bf705871e887349969399"
CHROMOSOME_3 = DataCard(
    name="chr3",
    source="bundled; human genome, assembly hg19 (GRCh37), chromosome 3 from 42 to 44 million",
    licence="public assembly, taken from a package under the Artistic License",
    citation="International Human Genome Sequencing Consortium (2004), Nature 431, doi:10.1038/nature03001",
    sha256=((_CHROMOSOME_3, _SHA256),),
)


def read_fasta(path: str | Path) -> dict[str, str]:
    r"""Returns the records of a FASTA file: the name, which is the first word after ``>``, and the sequence in capitals.

    ==================================  ===========================================
    in the file                         what it becomes
    ==================================  ===========================================
    lines of any length, CRLF, blanks   joined to one sequence
    lower case                          upper case
    U                                   T
    ``-`` and ``*`` (gaps, stops)       an error
    ==================================  ===========================================

    Args:
        path: The file, compressed (``.gz``, ``.xz``) or not.

    Returns:
        Sequences of IUPAC letters by name, in the order of the file.

    Raises:
        ValueError: If the file is damaged, empty or not FASTA, a letter is not in the IUPAC code (positions count from 1), or
            a record has no name, no bases or a repeated name.
        OSError: If it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.fa"
        >>> _ = path.write_text(">first of two\nacgt\nACGU\n\n>second\nNNA\n")
        >>> read_fasta(path)
        {'first': 'ACGTACGT', 'second': 'NNA'}

    References:
        Pearson and Lipman (1988), Improved tools for biological sequence comparison, PNAS 85(8).
        https://doi.org/10.1073/pnas.85.8.2444
    """
    path = Path(path)
    return _records(unpacked(path.read_bytes(), path), str(path))


def fasta_card(path: str | Path) -> DataCard:
    r"""Returns the card of a FASTA file: its name, its path and its SHA-256.

    Args:
        path: The file, compressed or not.

    Returns:
        The card, without a licence.

    Raises:
        OSError: If the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.fa"
        >>> _ = path.write_text(">first\nACGT\n")
        >>> fasta_card(path).name, fasta_card(path).sha256[0][1][:8]
        ('mine', 'fa1c7530')
    """
    path = Path(path)
    return DataCard(name=path.stem, source=str(path), sha256=((path.name, file_digest(path)),))


def chromosome_3() -> dict[str, str]:
    """Returns two million bases of human chromosome 3 (hg19) in one record, bundled with the package.

    Returns:
        The sequence, without ambiguous letters, by the name of the record.

    Raises:
        ValueError: If the file is not the original one, by its SHA-256.

    Example:
        >>> {name: len(sequence) for name, sequence in chromosome_3().items()}
        {'hg19_chr3:42000001-44000000': 2000001}

    References:
        International Human Genome Sequencing Consortium (2004), Finishing the euchromatic sequence of the human genome,
        Nature 431. https://doi.org/10.1038/nature03001
    """
    return _records(read_bundled("chromosome_3", _CHROMOSOME_3, sha256=_SHA256), _CHROMOSOME_3)


def load_genome(source: str | Path, *, length: int, stride: int) -> Dataset:
    r"""Returns the windows of a genome, for learning without labels; the last tenth is the test part.

    Args:
        source: ``chr3``, or a FASTA file. Records of fewer than ``length`` bases are left out.
        length: Bases per window, 1 or more.
        stride: Bases from the start of a window to the next, 1 or more.

    Returns:
        Inputs and targets, which are the same ``(n, length)`` bases, int8, and share memory. There is no validation part.

    Raises:
        ValueError: If there is no such file, it is a table, no record is long enough, all bases are ambiguous, there are fewer
            than two windows, or as for `read_fasta` and `windows`.
        OSError: If the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.fa"
        >>> _ = path.write_text(">first\n" + "ACGT" * 50)
        >>> made = load_genome(path, length=20, stride=20)
        >>> made.train["inputs"].shape, made.test["inputs"].shape
        ((9, 20), (1, 20))
    """
    is_bundled = str(source) == CHROMOSOME_3.name
    if not is_bundled and not Path(source).is_file():
        raise ValueError(f"a genome must be {CHROMOSOME_3.name} or a FASTA file; {source} is no file. Name another.")
    if is_table(str(source)):
        raise ValueError(
            f"a genome must be {CHROMOSOME_3.name} or a FASTA file, got the table {source}. Name the column to predict: --target "
            "COLUMN"
        )
    records = chromosome_3() if is_bundled else read_fasta(source)
    longest = max(records, key=lambda name: len(records[name]))
    if len(records[longest]) < length:
        raise ValueError(
            f"a record of {source} must hold {length} bases or more; the longest, {longest!r}, holds "
            f"{len(records[longest])}. Give it a longer one."
        )
    long_enough = (bases(sequence) for sequence in records.values() if len(sequence) >= length)
    cut = np.concatenate([windows(of_one, length=length, stride=stride) for of_one in long_enough])
    if (cut == AMBIGUOUS).all():
        raise ValueError(
            f"{source} must hold bases A, C, G or T; it holds ambiguous letters alone. Give it another file."
        )
    gap = (length - 1) // stride  # the number of following windows that share bases with a window
    whole = {"inputs": cut, "targets": cut}
    train, test = split(whole, fraction=_TEST_FRACTION, seed=0, by="stretch", gap=gap)
    card = CHROMOSOME_3 if is_bundled else fasta_card(source)
    rule = Split(by="stretch", fraction=_TEST_FRACTION)
    notes = (*card.notes, f"examples are windows of {length} bases, one every {stride}")
    made = Dataset(train, test, None, dataclasses.replace(card, gap=gap, split=rule, notes=notes))
    check(made)
    return made


def _records(content: bytes, name: str) -> dict[str, str]:
    """Returns the records of the content of a FASTA file."""
    found: dict[str, list[bytes]] = {}
    lines = [line.strip() for line in content.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{name} must hold a FASTA record; it is empty. Give it a header and a sequence.")
    if not lines[0].startswith(b">"):
        start = lines[0][:20].decode(errors="replace")
        raise ValueError(f"{name} must start with a header, as >name; got {start!r} (non-FASTA). Give it another file.")
    record = ""
    for line in lines:
        if line.startswith(b">"):
            record, *_ = [*line[1:].decode(errors="replace").split(), ""]
            if not record or record in found:
                what = f"got {record!r} twice" if record else "one has none"
                raise ValueError(f"{name} must give each record a name of its own; {what}. Rename one.")
            found[record] = []
        else:
            found[record].append(line)
    return {record: _sequence(b"".join(parts), record, name) for record, parts in found.items()}


def _sequence(joined: bytes, record: str, name: str) -> str:
    """Returns the sequence of one record in capitals, T for U."""
    if not joined:
        raise ValueError(f"record {record!r} of {name} must hold bases; it holds none. Fill it in or drop it.")
    bases(joined.decode(errors="replace"), name=f"record {record!r} of {name}")  # raises for an invalid letter
    return joined.upper().replace(b"U", b"T").decode()

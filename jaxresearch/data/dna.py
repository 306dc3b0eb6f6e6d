"""DNA as arrays: FASTA files, bases as small integers, k-mers and windows; NumPy on the host."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from jaxresearch.data.bundled import read_bundled
from jaxresearch.data.dataset import DataCard
from jaxresearch.data.tables import unpacked

_CHROMOSOME_3 = "human_chr3_42-44mb.fa.xz"
_SHA256 = "6c92e7ff10456b4f390b4b6aec2ad5aff3d190f2707bf705871e887349969399"
CHROMOSOME_3 = DataCard(
    name="chr3",
    source="bundled; human genome, assembly hg19 (GRCh37), chromosome 3 from 42 to 44 million",
    licence="public assembly, taken from a package under the Artistic License",
    citation="International Human Genome Sequencing Consortium (2004), Nature 431, doi:10.1038/nature03001",
    sha256=((_CHROMOSOME_3, _SHA256),),
)

_AMBIGUOUS = 4  # any of the IUPAC letters that stand for several bases
_UNKNOWN = 5  # no IUPAC letter
_CODES = bytearray([_UNKNOWN]) * 256
for _code, _symbols in enumerate((b"Aa", b"Cc", b"Gg", b"TtUu", b"RrYySsWwKkMmBbDdHhVvNn")):
    for _symbol in _symbols:
        _CODES[_symbol] = _code
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)
_LARGEST_K = 15  # 4**15 + 1 tokens still fit int32


def read_fasta(path: str | Path) -> dict[str, str]:
    r"""Returns the records of a FASTA file: name, which is the first word after ``>``, to sequence in capitals.

    ==================================  ===========================================
    in the file                         what becomes of it
    ==================================  ===========================================
    lines of any length, CRLF, blanks   joined to one sequence
    small letters                       capitals
    U                                   T
    ``-`` and ``*`` (gaps, stops)       an error: a gap is no base
    ==================================  ===========================================

    Args:
        path: The file, packed (``.gz``, ``.xz``) or not.

    Returns:
        Sequences of IUPAC letters, in the order of the file.

    Raises:
        ValueError: If the file is damaged, empty or no FASTA, a letter is none of the IUPAC code (positions count from 1), or
            a record has no name, no bases or the name of another.
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
        path: The file, packed or not.

    Returns:
        The card; the licence of a file of one's own is not known.

    Raises:
        OSError: If the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.fa"
        >>> _ = path.write_text(">first\nACGT\n")
        >>> fasta_card(path).name, fasta_card(path).sha256[0][1][:8]
        ('mine', 'fa1c7530')

    References:
        Gebru et al. (2021), Datasheets for datasets, CACM 64(12). https://arxiv.org/abs/1803.09010
    """
    path = Path(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return DataCard(name=path.stem, source=str(path), sha256=((path.name, digest),))


def chromosome_3() -> dict[str, str]:
    """Returns two million bases of human chromosome 3 (hg19), one record, which come with the package.

    Returns:
        Name of the record to its sequence, without ambiguous letters.

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


def bases(sequence: str) -> Int[np.ndarray, " length"]:
    """Returns a sequence as numbers: A 0, C 1, G 2, T (or U) 3, any IUPAC letter for several bases 4.

    Args:
        sequence: IUPAC letters, small or capital.

    Returns:
        Bases, int8.

    Raises:
        ValueError: If a letter is none of the IUPAC code; its position counts from 1.

    Example:
        >>> bases("ACGTUacgtN").tolist()
        [0, 1, 2, 3, 3, 0, 1, 2, 3, 4]

    References:
        NC-IUB (1985), Nomenclature for incompletely specified bases in nucleic acid sequences, Nucleic Acids Res. 13(9).
        https://doi.org/10.1093/nar/13.9.3021
    """
    return np.frombuffer(_coded(sequence, "sequence"), np.int8).copy()


def letters(bases: Integer[np.ndarray, " length"]) -> str:
    """Returns numbers as a sequence, the inverse of `bases`; 4 becomes N.

    Args:
        bases: 0 to 4, of one sequence.

    Returns:
        Letters of ACGTN.

    Raises:
        ValueError: If the bases are not one sequence of numbers from 0 to 4.

    Example:
        >>> letters(bases("acgur"))
        'ACGTN'

    References:
        NC-IUB (1985), Nomenclature for incompletely specified bases, Nucleic Acids Res. 13(9).
        https://doi.org/10.1093/nar/13.9.3021
    """
    bases = _checked(bases)
    if bases.ndim != 1:
        raise ValueError(f"bases must be one sequence (length,); got shape {bases.shape}. Pass one row at a time.")
    return _LETTERS[bases].tobytes().decode()


def reverse_complement(bases: Any) -> Any:
    """Returns the other strand, read in its own direction: A and T, C and G exchanged, the order turned round.

    Args:
        bases: 0 to 4, ``(..., length)``; of NumPy or of JAX.

    Returns:
        Bases of the same kind, shape and type; 4 stays 4.

    Example:
        >>> letters(reverse_complement(bases("AACGN")))
        'NCGTT'

    References:
        Watson and Crick (1953), Molecular structure of nucleic acids, Nature 171. https://doi.org/10.1038/171737a0
    """
    return ((8 - bases) % 5)[..., ::-1]  # 0 1 2 3 4 -> 3 2 1 0 4, without a negative number, so for unsigned types too


def kmers(bases: Integer[np.ndarray, "*batch length"], *, k: int, stride: int = 1) -> Int[np.ndarray, "*batch windows"]:
    """Returns the k-mers of sequences as tokens: ``sum_i base_i 4**(k - 1 - i)``, the first base most significant.

    Args:
        bases: 0 to 4.
        k: Bases a token, 1 to 15.
        stride: Bases from one token to the next, 1 or more; bases after the last whole k-mer are left out.

    Returns:
        Tokens, int32: 0 to ``4**k - 1``, and ``4**k`` where a base is ambiguous.

    Raises:
        ValueError: If ``k`` or ``stride`` is out of range, a sequence is shorter than ``k``, or a base is not 0 to 4.

    Example:
        >>> kmers(bases("AACGNA"), k=2).tolist()
        [0, 1, 6, 16, 16]

    References:
        Ji, Zhou, Liu and Davuluri (2021), DNABERT, Bioinformatics 37(15), section 2.2 (overlapping k-mers as tokens).
        https://doi.org/10.1093/bioinformatics/btab083
    """
    bases = _checked(bases)
    if not 1 <= k <= _LARGEST_K:
        raise ValueError(f"k must be from 1 to {_LARGEST_K}; got {k}. Take 6 for 4,096 tokens.")
    _require_stride(stride)
    length = bases.shape[-1]
    if length < k:
        raise ValueError(f"sequences must be k = {k} bases or longer; got {length}. Pass longer ones, or a smaller k.")
    places = [bases[..., i : length - k + 1 + i : stride] for i in range(k)]
    tokens, ambiguous = np.zeros(places[0].shape, np.int32), np.zeros(places[0].shape, bool)
    for place in places:
        tokens = 4 * tokens + (place & 3).astype(np.int32)  # wide and unsigned bases would widen them
        ambiguous |= place == _AMBIGUOUS
    return np.where(ambiguous, np.int32(4**k), tokens)


def windows(
    bases: Integer[np.ndarray, " length"], *, length: int, stride: int | None = None
) -> Integer[np.ndarray, "windows width"]:
    """Returns windows of one sequence, a row each; what is left at its end is dropped.

    Args:
        bases: One sequence, of bases or tokens.
        length: Bases a window, 1 or more.
        stride: Bases from the start of a window to the next, 1 or more; ``length`` (windows side by side) unless given.

    Returns:
        A view of the sequence that cannot be written to: overlapping windows take no memory.

    Raises:
        ValueError: If ``length`` or ``stride`` is out of range, or the sequence is shorter than a window.

    Example:
        >>> windows(np.arange(7), length=3).tolist(), windows(np.arange(5), length=3, stride=2).tolist()
        ([[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [2, 3, 4]])

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, appendix A.2 (pre-training on contiguous spans).
        https://arxiv.org/abs/1810.04805
    """
    if length < 1:
        raise ValueError(f"length must be 1 or more; got {length}. Pass the number of bases in a window.")
    stride = length if stride is None else stride
    _require_stride(stride)
    if bases.ndim != 1 or len(bases) < length:
        raise ValueError(
            f"bases must be one sequence of {length} or more; got shape {bases.shape}. Pass a longer one, or shorter windows."
        )
    return np.lib.stride_tricks.sliding_window_view(bases, length)[::stride]


def kmer_counts(bases: Integer[np.ndarray, "n length"], *, k: int) -> Float[np.ndarray, "n tokens"]:
    """Returns how often each k-mer occurs in each sequence; those with an ambiguous base are left out.

    Args:
        bases: 0 to 4; a shorter sequence may be filled up with 4.
        k: Bases a k-mer, 1 to 15; a row takes ``4**k`` floats.

    Returns:
        Counts ``(n, 4**k)``, float32.

    Raises:
        ValueError: If the bases are not ``(n, length)``, or as for `kmers`.

    Example:
        >>> kmer_counts(bases("AACNAA")[None], k=1).tolist()
        [[4.0, 1.0, 0.0, 0.0]]

    References:
        Blaisdell (1986), A measure of the similarity of sets of sequences not requiring sequence alignment, PNAS 83(14).
        https://doi.org/10.1073/pnas.83.14.5155
    """
    if bases.ndim != 2:
        raise ValueError(f"bases must have shape (n, length); got {bases.shape}. Pass one sequence as bases[None].")
    tokens = kmers(bases, k=k)
    counts = np.empty((len(bases), 4**k), np.float32)
    for row, of_row in enumerate(tokens):
        counts[row] = np.bincount(of_row, minlength=4**k + 1)[:-1]
    return counts


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
    _coded(joined.decode(errors="replace"), f"record {record!r} of {name}")
    return joined.upper().replace(b"U", b"T").decode()


def _coded(sequence: str, name: str) -> bytes:
    """Returns the code of each letter as a byte."""
    codes = sequence.encode("ascii", "replace").translate(_CODES)  # one byte a letter, "?" for what is not ASCII
    place = codes.find(_UNKNOWN)
    if place >= 0:
        raise ValueError(
            f"{name} must hold nucleotide letters (IUPAC) alone; got {sequence[place]!r} at position {place + 1}. "
            "Take out gaps and stops, mend others."
        )
    return codes


def _checked(bases: np.ndarray) -> np.ndarray:
    """Returns bases that are numbers from 0 to 4."""
    bases = np.asarray(bases)
    if bases.dtype.kind not in "iu" or not bases.ndim or (bases.size and not 0 <= bases.min() <= bases.max() <= 4):
        raise ValueError(
            f"bases must be integers from 0 to 4, of one axis or more; got {bases.dtype} of shape {bases.shape}. "
            "Make them with dna.bases."
        )
    return bases


def _require_stride(stride: int) -> None:
    """Raises where a stride does not go on."""
    if stride < 1:
        raise ValueError(f"stride must be 1 or more; got {stride}. Pass the bases from one start to the next.")

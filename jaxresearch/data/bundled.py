"""The bundled data sets, verified by SHA-256."""

import dataclasses
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np

from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import Column, DataCard, Dataset, Split, require_digests
from jaxresearch.data.files import tables
from jaxresearch.data.files.idx import load_idx_folder
from jaxresearch.data.files.tables import unpacked
from jaxresearch.data.files.targets import classes_of


def read_bundled(folder: str, name: str, *, sha256: str) -> bytes:
    r"""Returns the decompressed content of a bundled file, after verifying it.

    Args:
        folder: Its folder in ``archives``.
        name: Its name; ``.gz`` and ``.xz`` are decompressed.
        sha256: The expected digest of the compressed file.

    Returns:
        The bytes.

    Raises:
        ValueError: If the SHA-256 differs.

    Example:
        >>> digest = "b73dc8b991b095587f72f9d1553faa4edfbf246a6a3052071319c2d218df753c"
        >>> read_bundled("stop_words", "stopwords_en.txt", sha256=digest)[:7]
        b'a\nabout'
    """
    raw = (resources.files("jaxresearch.data") / "archives" / folder / name).read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if digest != sha256:
        raise ValueError(f"{name} must have SHA-256 {sha256}, got {digest}. The archive was altered: reinstall it.")
    return unpacked(raw, Path(name))


_AMES = "ames_housing.csv.xz"
_AMES_SHA256 = "5bdf5515c29cb3ec93b37ff52c27278e191032c39a34f982b061ceb0c4bc7a6d"


def ames(*, types: Mapping[str, str] | None = None) -> Collected:
    """Returns 2,930 house sales: 13 columns, areas in square feet; the target is the price in USD.

    Args:
        types: Kinds of columns, as in `jaxresearch.data.load`.

    Returns:
        Inputs as a dict of columns, targets ``(n, 1)`` float64, not yet split.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> sales = ames().parts["train"]
        >>> len(sales["targets"]), len(sales["inputs"])
        (2930, 13)

    References:
        De Cock (2011), Ames, Iowa: alternative to the Boston housing data as an end of semester regression project, J.
        Stat. Educ. 19(3). https://doi.org/10.1080/10691898.2011.11889627
    """
    return _table(
        "ames",
        _AMES,
        _AMES_SHA256,
        target="Sale_Price",
        types=types,
        source="bundled; the data set ames of the R package modeldata",
        licence="MIT",
        citation="De Cock (2011), J. Stat. Educ. 19(3), doi:10.1080/10691898.2011.11889627",
    )


def _table(
    name: str, file: str, sha256: str, *, target: str, types: Mapping[str, str] | None = None, **described: str
) -> Collected:
    """Returns a bundled table, after verifying it."""
    with resources.as_file(resources.files("jaxresearch.data") / "archives" / name / file) as path:
        parts, card = tables.load_table(path, target=target, types=types)
    require_digests(card, {file: sha256})
    return Collected(parts, dataclasses.replace(card, name=name, **described))


_CREDIT = "german_credit.csv.xz"
_CREDIT_SHA256 = "5433973ad91811ffded3e0a4787e8745b1816f30789fdadd8b0b07b659fe3b5c"


def credit() -> Collected:
    """Returns 1,000 applicants for credit: 20 columns; the target is whether the credit was bad or good.

    Returns:
        Inputs as a dict of columns, and classes, not yet split.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> applicants = credit()
        >>> applicants.card.class_names, len(applicants.parts["train"]["targets"])
        (('bad', 'good'), 1000)

    References:
        Hofmann (1994), Statlog (German Credit Data), UCI Machine Learning Repository. https://doi.org/10.24432/C5NC77
    """
    return _table(
        "credit",
        _CREDIT,
        _CREDIT_SHA256,
        target="class",
        source="bundled; UCI Statlog (German Credit Data)",
        licence="CC BY 4.0",
        citation="Hofmann (1994), UCI Machine Learning Repository, doi:10.24432/C5NC77",
    )


_IMAGE_SEGMENTATION = "image_segmentation.csv.xz"
_IMAGE_SEGMENTATION_SHA256 = "3224ee0f2b4f5394c43ec720c1309357921db87239c95ba9b68d171280839c22"


def image_segmentation() -> Collected:
    """Returns 2,310 patches of 3 by 3 pixels from seven outdoor images: 19 measured features; the target is what they show.

    224 rows repeat another row.

    Returns:
        Inputs as a dict of columns, and seven classes of 330 patches each, not yet split.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> image_segmentation().card.class_names
        ('brickface', 'cement', 'foliage', 'grass', 'path', 'sky', 'window')

    References:
        Vision Group, University of Massachusetts (1990), Image Segmentation, UCI Machine Learning Repository.
        https://archive.ics.uci.edu
    """
    return _table(
        "image_segmentation",
        _IMAGE_SEGMENTATION,
        _IMAGE_SEGMENTATION_SHA256,
        target="class",
        source="bundled; UCI Image Segmentation",
        licence="CC BY 4.0",
        citation="Vision Group, University of Massachusetts (1990), Image Segmentation, UCI Machine Learning Repository",
    )


_SPLICE = "splice_junctions.csv.xz"
_SPLICE_SHA256 = "d7597c2c4e811b17807ad16c920e5a54c8ba94eddee894662c24e216cb9c62bd"


def splice() -> Collected:
    """Returns 3,190 windows of 60 letters of DNA; the target is the junction in the middle: EI, IE or none (N).

    Returns:
        Inputs ``{"sequence": ...}``, strings of 60 letters (encode them with `jaxresearch.fields.dna.bases`), and classes.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> junctions = splice()
        >>> junctions.card.class_names, len(junctions.parts["train"]["targets"])
        (('EI', 'IE', 'N'), 3190)

    References:
        Noordewier, Towell and Shavlik (1991), Training knowledge-based neural networks to recognize genes in DNA
        sequences, NIPS 3. UCI Machine Learning Repository. https://archive.ics.uci.edu
    """
    return _table(
        "splice",
        _SPLICE,
        _SPLICE_SHA256,
        target="label",
        source="bundled; UCI Molecular Biology (Splice-junction Gene Sequences)",
        licence="CC BY 4.0",
        citation="Noordewier, Towell and Shavlik (1991), NIPS 3; UCI Machine Learning Repository",
    )


_GENE_ONTOLOGY = "go_definitions.tsv.xz"
_GENE_ONTOLOGY_SHA256 = "0f4eb71e26d03e09388fc44900d93fdb3e366eebaa2b4a198d9fecd5efb0aab1"


def gene_ontology() -> Collected:
    """Returns 35,140 terms with their definitions; the target is the branch: process, component or function.

    Texts are arrays of `numpy.dtypes.StringDType`, 9 MB in all; with the width of the longest definition they would take
    210 MB.

    Returns:
        Inputs ``{"id": ..., "term": ..., "definition": ...}``; classes BP, CC, MF. A tenth is held out by default.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> terms = gene_ontology()
        >>> terms.parts["train"]["inputs"]["term"][0], terms.card.class_names, terms.card.split.fraction
        ('mitochondrion inheritance', ('BP', 'CC', 'MF'), 0.1)

    References:
        Ashburner et al. (2000), Gene Ontology: tool for the unification of biology, Nature Genetics 25.
        https://doi.org/10.1038/75556
    """
    lines = read_bundled("gene_ontology", _GENE_ONTOLOGY, sha256=_GENE_ONTOLOGY_SHA256).decode().splitlines()[1:]
    identifiers, branches, terms, definitions = zip(*(line.split("\t") for line in lines), strict=True)
    targets = classes_of(np.array(branches), name="branch", task=None)
    columns = {"id": identifiers, "term": terms, "definition": definitions}
    inputs = {name: np.array(words, dtype=np.dtypes.StringDType()) for name, words in columns.items()}
    card = DataCard(
        name="gene_ontology",
        source="bundled; Gene Ontology, release 2022-07-01, http://geneontology.org",
        licence="CC BY 4.0",
        citation="Ashburner et al. (2000), Nature Genetics 25, doi:10.1038/75556; Gene Ontology Consortium, release 2022-07-01",
        sha256=((_GENE_ONTOLOGY, _GENE_ONTOLOGY_SHA256),),
        class_names=targets.class_names,
        feature_shape=(len(columns),),
        feature_names=tuple(columns),
        columns=tuple(Column(name=name, kind="id" if name == "id" else "text") for name in columns),
        target=targets.column,
        split=Split(fraction=0.1),
    )
    return Collected({"train": {"inputs": inputs, "targets": targets.values}}, card)


_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def mnist(directory: Path | None = None) -> Dataset:
    """Returns MNIST: 60,000 training and 10,000 test images of handwritten digits, grey values 0 to 255.

    Args:
        directory: A folder with the four archives; by default those in the package.

    Returns:
        Images ``(n, 28, 28, 1)`` of uint8, labels 0 to 9.

    Raises:
        ValueError: If the SHA-256 of an archive differs.
        FileNotFoundError: If one is missing.

    Example:
        >>> mnist().train["inputs"].shape
        (60000, 28, 28, 1)

    References:
        LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition, Proc. IEEE
        86(11). https://doi.org/10.1109/5.726791
    """
    if directory is not None:
        return _verified(directory)
    with resources.as_file(resources.files("jaxresearch.data") / "archives" / "mnist") as folder:
        return _verified(folder)


def _verified(folder: Path) -> Dataset:
    """Returns the data of the four archives, after verifying them."""
    parts, card = load_idx_folder(folder)
    require_digests(card, _MNIST_SHA256)
    card = dataclasses.replace(
        card,
        name="mnist",
        source="bundled; http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0",
        citation="LeCun, Bottou, Bengio and Haffner (1998), Proc. IEEE 86(11), doi:10.1109/5.726791",
    )
    return Dataset(parts["train"], parts["test"], None, card)

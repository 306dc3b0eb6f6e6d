"""The bundled data sets, verified by SHA-256."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.data.censored import censored
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
    return _tables(name, {file: sha256}, target=target, types=types, **described)


def _tables(name: str, files: Mapping[str, str], *, target: str, types: Any = None, **described: str) -> Collected:
    """Returns a bundled table and its test part, if there is a second file, after verifying them."""
    folder = resources.files("jaxresearch.data") / "archives" / name
    with contextlib.ExitStack() as held:
        path, *others = [held.enter_context(resources.as_file(folder / file)) for file in files]
        test = others[0] if others else None
        parts, card = tables.load_table(path, target=target, types=types, test=test)
    require_digests(card, dict(files))
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


_PUPILS = "egsingle_growth.csv.xz"
_PUPILS_SHA256 = "8dace3272a58621a4208fb5d7871f5813043029915de23e5d47eb9a857786cd8"


def pupils() -> Collected:
    """Returns 7,230 yearly scores in mathematics of 1,721 pupils in 60 schools, a row per score, which is the target, in logits.

    Returns:
        Inputs as a dict of columns, with the pupil (``childid``), the school (``schoolid``) and the ``year``, -2.5 to 2.5;
        targets ``(n, 1)`` float64. Not yet split: split it by group, so that no pupil is in two parts.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> scores = pupils().parts["train"]
        >>> len(scores["targets"]), len({*scores["inputs"]["childid"]}), np.unique(scores["inputs"]["year"]).tolist()
        (7230, 1721, [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])

    References:
        Raudenbush and Bryk (2002), Hierarchical Linear Models: Applications and Data Analysis Methods, 2nd edition, Sage.
    """
    return _table(
        "pupils",
        _PUPILS,
        _PUPILS_SHA256,
        target="math",
        types={"schoolid": "category", "childid": "id"},
        source="bundled; the data set egsingle of the R package mlmRev",
        licence="GPL-2.0-or-later",
        citation="Raudenbush and Bryk (2002), Hierarchical Linear Models, 2nd edition, Sage; R package mlmRev",
    )


_MATH_EXAM = "math_exam.csv.xz"
_MATH_EXAM_SHA256 = "52465320fbcdf6d65c941708f4dc67e4319585b75a89b8aafd00aec042a275e1"


def math_exam() -> Collected:
    """Returns 9,477 answers of 729 students to the 13 exercises of an exam, a row per answer; the target is whether it was right.

    Returns:
        Inputs as a dict of columns, with the ``student``, the ``item`` and its ``place`` in the exam; classes no and yes. Not yet
        split: split it by group, so that no student is in two parts.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> answers = math_exam()
        >>> answers.card.class_names, len(answers.parts["train"]["targets"]), len({*answers.parts["train"]["inputs"]["student"]})
        (('no', 'yes'), 9477, 729)

    References:
        Zeileis, Umlauf and Leisch (2014), Flexible generation of e-learning exams in R: Moodle quizzes, OLAT assessments, and
        beyond, J. Stat. Softw. 58(1). https://doi.org/10.18637/jss.v058.i01
    """
    return _table(
        "math_exam",
        _MATH_EXAM,
        _MATH_EXAM_SHA256,
        target="solved",
        types={"student": "id", "group": "category", "study": "category"},
        source="bundled; the data set MathExam14W of the R package psychotools",
        licence="GPL-2.0-only OR GPL-3.0-only",
        citation="Zeileis, Umlauf and Leisch (2014), J. Stat. Softw. 58(1), doi:10.18637/jss.v058.i01; R package psychotools",
    )


_WDBC = "breast_cancer_wdbc.csv.xz"
_WDBC_SHA256 = "aa313f6376c15699eb2e090509ace03ca8e51e1acee02a7fc71ecd5496f6be5f"


def wdbc() -> Collected:
    """Returns 569 samples of breast masses: 30 measures of cell nuclei; the target is benign (B) or malignant (M).

    Returns:
        Inputs as a dict of columns, and classes, not yet split.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> samples = wdbc()
        >>> samples.card.class_names, len(samples.parts["train"]["targets"])
        (('B', 'M'), 569)

    References:
        Wolberg, Mangasarian, Street and Street (1993), Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning
        Repository. https://doi.org/10.24432/C5DW2B
    """
    return _table(
        "wdbc",
        _WDBC,
        _WDBC_SHA256,
        target="diagnosis",
        source="bundled; UCI Breast Cancer Wisconsin (Diagnostic)",
        licence="CC BY 4.0",
        citation="Wolberg et al. (1993), UCI Machine Learning Repository, doi:10.24432/C5DW2B",
    )


_ROTTERDAM_SHA256 = {
    "rotterdam.csv.xz": "273d208008c5190cc6b84e7e535481a6c32cdad9a0184e313a2847c38c69f258",
    "gbsg.csv.xz": "4d7b3858ca5af06c69a92a04a5ba026d562eeddfb74b7bb626ee6844ad9acc5f",
}


def rotterdam() -> Collected:
    """Returns breast-cancer patients and their time to recurrence or death: 2,982 of Rotterdam, 686 of a German trial to test.

    Returns:
        Inputs as a dict of columns; targets ``(n, 2)``: days, and 1 for an event or 0 for the last visit without one.

    Raises:
        ValueError: If the SHA-256 of a file differs.

    Example:
        >>> patients = rotterdam()
        >>> {name: (len(part["targets"]), int(part["targets"][:, 1].sum())) for name, part in patients.parts.items()}
        {'train': (2982, 1713), 'test': (686, 299)}

    References:
        Royston and Altman (2013), External validation of a Cox prognostic model: principles and methods, BMC Med. Res.
        Methodol. 13:33. https://doi.org/10.1186/1471-2288-13-33
    """
    collected = _tables(
        "rotterdam",
        _ROTTERDAM_SHA256,
        target="time",
        source="bundled; the data sets rotterdam and gbsg of the R package survival 3.5-3",
        licence="LGPL-2.0-or-later",
        citation="Royston and Altman (2013), BMC Med. Res. Methodol. 13:33, doi:10.1186/1471-2288-13-33",
    )
    return censored(collected, "event")


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

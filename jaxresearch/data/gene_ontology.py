"""Definitions of the Gene Ontology, biomedical English that comes with the package."""

import numpy as np

from jaxresearch.data.bundled import read_bundled
from jaxresearch.data.dataset import DataCard, Dataset
from jaxresearch.data.splits import split

_NAME = "go_definitions.tsv.xz"
_SHA256 = "0f4eb71e26d03e09388fc44900d93fdb3e366eebaa2b4a198d9fecd5efb0aab1"


def gene_ontology(*, seed: int = 0, test_fraction: float = 0.1) -> Dataset:
    """Returns 35,140 terms with their definitions; the target is the branch: process, component or function.

    Words are kept in arrays of `numpy.dtypes.StringDType`: 9 MB, where the longest definition would make 210 MB of
    letters in rows of equal length.

    Args:
        seed: Of the split, which keeps the shares of the branches.
        test_fraction: Share of the test part.

    Returns:
        Inputs ``{"id": ..., "term": ..., "definition": ...}``; classes BP, CC, MF.

    Raises:
        ValueError: If the file is not the original one, by its SHA-256.

    Example:
        >>> terms = gene_ontology()
        >>> terms.train["inputs"]["term"][0], terms.card.class_names, len(terms.test["targets"])
        ('mitochondrion inheritance', ('BP', 'CC', 'MF'), 3514)

    References:
        Ashburner et al. (2000), Gene Ontology: tool for the unification of biology, Nature Genetics 25.
        https://doi.org/10.1038/75556
    """
    lines = read_bundled("gene_ontology", _NAME, sha256=_SHA256).decode().splitlines()[1:]
    identifiers, branches, terms, definitions = zip(*(line.split("\t") for line in lines), strict=True)
    class_names, targets = np.unique(branches, return_inverse=True)
    columns = {"id": identifiers, "term": terms, "definition": definitions}
    inputs = {name: np.array(words, dtype=np.dtypes.StringDType()) for name, words in columns.items()}
    whole = {"inputs": inputs, "targets": targets.astype(np.int32)}
    train, test = split(whole, fraction=test_fraction, seed=seed)
    card = DataCard(
        name="gene_ontology",
        source="bundled; Gene Ontology, release 2022-07-01, http://geneontology.org",
        licence="CC BY 4.0",
        citation="Ashburner et al. (2000), Nature Genetics 25, doi:10.1038/75556; Gene Ontology Consortium, release 2022-07-01",
        sha256=((_NAME, _SHA256),),
        class_names=tuple(class_names.tolist()),
        feature_shape=(len(columns),),
        feature_names=tuple(columns),
    )
    return Dataset(train, test, None, card)

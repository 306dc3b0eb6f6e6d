"""Splice junctions of primate genes, which come with the package."""

import dataclasses
from importlib import resources

from jaxresearch.data import tables
from jaxresearch.data.dataset import Dataset, require_digests

_NAME = "splice_junctions.csv.xz"
_SHA256 = "d7597c2c4e811b17807ad16c920e5a54c8ba94eddee894662c24e216cb9c62bd"


def splice(*, seed: int = 0, test_fraction: float = 0.2) -> Dataset:
    """Returns 3,190 windows of 60 letters of DNA; the target is the border in the middle: EI, IE or none (N).

    Args:
        seed: Of the split, which keeps the shares of the classes.
        test_fraction: Share of the test part.

    Returns:
        Inputs ``{"sequence": ...}``, words of 60 letters (`jaxresearch.data.dna.bases` makes numbers of them); classes.

    Raises:
        ValueError: If the file is not the original one, by its SHA-256.

    Example:
        >>> junctions = splice()
        >>> junctions.card.class_names, len(junctions.train["targets"]), len(junctions.test["targets"])
        (('EI', 'IE', 'N'), 2552, 638)

    References:
        Noordewier, Towell and Shavlik (1991), Training knowledge-based neural networks to recognize genes in DNA
        sequences, NIPS 3. UCI Machine Learning Repository. https://archive.ics.uci.edu
    """
    with resources.as_file(resources.files("jaxresearch.data") / "archives" / "splice" / _NAME) as path:
        dataset = tables.load_table(path, target="label", seed=seed, test_fraction=test_fraction)
    require_digests(dataset, {_NAME: _SHA256})
    card = dataclasses.replace(
        dataset.card,
        name="splice",
        source="bundled; UCI Molecular Biology (Splice-junction Gene Sequences)",
        licence="CC BY 4.0",
        citation="Noordewier, Towell and Shavlik (1991), NIPS 3; UCI Machine Learning Repository",
    )
    return dataset._replace(card=card)

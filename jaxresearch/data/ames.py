"""House sales in Ames, Iowa, which come with the package."""

import dataclasses
from importlib import resources

from jaxresearch.data import tables
from jaxresearch.data.dataset import Dataset, require_digests

_NAME = "ames_housing.csv.xz"
_SHA256 = "5bdf5515c29cb3ec93b37ff52c27278e191032c39a34f982b061ceb0c4bc7a6d"


def ames(*, seed: int = 0, test_fraction: float = 0.2) -> Dataset:
    """Returns 2,930 house sales: 13 columns, areas in square feet; the target is the price in USD.

    Args:
        seed: Of the split.
        test_fraction: Share of the test part.

    Returns:
        Inputs as a dict of columns, targets ``(n, 1)`` float32.

    Raises:
        ValueError: If the file is not the original one, by its SHA-256.

    Example:
        >>> sales = ames()
        >>> len(sales.train["targets"]), len(sales.test["targets"]), len(sales.train["inputs"])
        (2344, 586, 13)

    References:
        De Cock (2011), Ames, Iowa: alternative to the Boston housing data as an end of semester regression project, J.
        Stat. Educ. 19(3). https://doi.org/10.1080/10691898.2011.11889627
    """
    with resources.as_file(resources.files("jaxresearch.data") / "archives" / "ames" / _NAME) as path:
        dataset = tables.load_table(path, target="Sale_Price", seed=seed, test_fraction=test_fraction)
    require_digests(dataset, {_NAME: _SHA256})
    card = dataclasses.replace(
        dataset.card,
        name="ames",
        source="bundled; the data set ames of the R package modeldata",
        licence="MIT",
        citation="De Cock (2011), J. Stat. Educ. 19(3), doi:10.1080/10691898.2011.11889627",
    )
    return dataset._replace(card=card)

"""The bundled sets of molecules, verified by SHA-256."""

import csv

import numpy as np

from jaxresearch.data.bundled import read_bundled
from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import Column, DataCard, Split
from jaxresearch.data.files.targets import classes_of

_B3DB = "b3db.csv.xz"
_B3DB_SHA256 = "ea4e56c98176579f65465c8a7c534c15df3234f72e33b4586a06d1bc627c7623"


def b3db() -> Collected:
    """Returns 7,807 molecules; the target is whether one crosses the blood-brain barrier: no or yes.

    Returns:
        Inputs ``{"smiles": ..., "compound_name": ...}``, and classes, not yet split.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> molecules = b3db()
        >>> molecules.card.class_names, np.bincount(molecules.parts["train"]["targets"]).tolist()
        (('no', 'yes'), [2851, 4956])

    References:
        Meng, Xi, Huang and Ayers (2021), A curated diverse molecular database of blood-brain barrier permeability with
        chemical descriptors, Sci. Data 8:289. https://doi.org/10.1038/s41597-021-01069-5
    """
    rows = _rows("b3db", _B3DB, _B3DB_SHA256)
    targets = classes_of(np.array(["yes" if row["bbb"] == "1" else "no" for row in rows]), name="crosses", task=None)
    card = DataCard(
        name="b3db",
        source="bundled; B3DB, https://github.com/theochem/B3DB",
        licence="CC0-1.0",
        citation="Meng, Xi, Huang and Ayers (2021), Sci. Data 8:289, doi:10.1038/s41597-021-01069-5",
        sha256=((_B3DB, _B3DB_SHA256),),
        class_names=targets.class_names,
        target=targets.column,
        **_schema("smiles", "compound_name"),
    )
    return _collected(rows, targets.values, card)


_AQSOLDB = "aqsoldb.csv.xz"
_AQSOLDB_SHA256 = "e2d8dd59b86542cafd306c588ecddca4c23d51146c571b80fb09ee7e75e1f4c1"


def aqsoldb() -> Collected:
    """Returns 9,290 molecules; the target is the solubility in water at 25 degrees, as the logarithm of mol per litre.

    Returns:
        Inputs ``{"smiles": ..., "name": ...}``; targets ``(n, 1)`` float64, not yet split.

    Raises:
        ValueError: If the SHA-256 of the file differs.

    Example:
        >>> targets = aqsoldb().parts["train"]["targets"]
        >>> targets.shape, round(float(targets.mean()), 2)
        ((9290, 1), -2.95)

    References:
        Sorkun, Khetan and Er (2019), AqSolDB, a curated reference set of aqueous solubility and 2D descriptors for a diverse set
        of compounds, Sci. Data 6:143. https://doi.org/10.1038/s41597-019-0151-1
    """
    rows = _rows("aqsoldb", _AQSOLDB, _AQSOLDB_SHA256)
    card = DataCard(
        name="aqsoldb",
        source="bundled; AqSolDB, https://doi.org/10.7910/DVN/OVHAW8",
        licence="CC0-1.0",
        citation="Sorkun, Khetan and Er (2019), Sci. Data 6:143, doi:10.1038/s41597-019-0151-1",
        sha256=((_AQSOLDB, _AQSOLDB_SHA256),),
        target=Column(name="logS", kind="number"),
        **_schema("smiles", "name"),
    )
    return _collected(rows, np.array([[float(row["logS"])] for row in rows]), card)


def _rows(folder: str, name: str, sha256: str) -> list[dict[str, str]]:
    """Returns the rows of a bundled table as texts."""
    return [*csv.DictReader(read_bundled(folder, name, sha256=sha256).decode().splitlines())]


def _schema(*columns: str) -> dict:
    """Returns the entries of a card for columns of texts, with a fifth held out by default."""
    schema = tuple(Column(name=name, kind="text") for name in columns)
    return {"columns": schema, "feature_names": columns, "feature_shape": (len(columns),), "split": Split()}


def _collected(rows: list[dict[str, str]], targets: np.ndarray, card: DataCard) -> Collected:
    """Returns the table of a card, not yet split."""
    inputs = {name: np.array([row[name] for row in rows], np.dtypes.StringDType()) for name in card.feature_names}
    return Collected({"train": {"inputs": inputs, "targets": targets}}, card)

"""Daily prices from tables, and their returns."""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxresearch.data.dataset import DataCard, require_digests
from jaxresearch.data.files.columns import read_columns
from jaxresearch.data.files.tables import TABLES, column_advice, is_table, read_table, table_name
from jaxresearch.data.files.words import Rows

_FILE = "us_indices.csv.xz"
US_INDICES = DataCard(
    name="us_indices",
    source="bundled; the data sets sp500 and nasdaq of the Python package arch",
    licence="NCSA",
    citation="Sheppard (2014 onwards), arch, https://github.com/bashtage/arch",
    sha256=((_FILE, "86416595b88e31563831e522628f2d778ca84d971f76c0e28b9e1b4b0dba0f70"),),
)


class Prices(NamedTuple):
    """The closing prices of one asset.

    Attributes:
        dates: Days since 1970, ascending.
        closes: Positive, in any currency.
        card: Where they come from; its target is unset.
    """

    dates: Float[np.ndarray, " days"]
    closes: Float[np.ndarray, " days"]
    card: DataCard


def load_prices(source: str | Path, *, column: str | None = None) -> Prices:
    r"""Returns daily closing prices, checked.

    Args:
        source: ``us_indices``, bundled: the S&P 500 and the Nasdaq Composite, 1999 to 2018. Or a table with a column ``date``, as
            YYYY-MM-DD.
        column: The column of prices; ``sp500_close`` by default for ``us_indices``.

    Returns:
        Prices, and a card that describes their source.

    Raises:
        ValueError: If there is no such table or column, a cell is missing or no number or date, a price is not positive, or the
            dates do not ascend.

    Example:
        >>> prices = load_prices("us_indices", column="nasdaq_close")
        >>> len(prices.closes), prices.closes[0].item()
        (5031, 2208.05)

    References:
        Sheppard (2014 onwards), arch: autoregressive conditional heteroskedasticity and other tools for financial
        econometrics (the bundled prices). https://github.com/bashtage/arch
    """
    if str(source) == US_INDICES.name:
        with resources.as_file(resources.files("jaxresearch.data") / "archives" / US_INDICES.name / _FILE) as path:
            prices = _read(path, column or "sp500_close")
        require_digests(prices.card, dict(US_INDICES.sha256))
        return prices._replace(card=dataclasses.replace(US_INDICES, notes=prices.card.notes))
    path = Path(source)
    if not is_table(str(source)) or not path.is_file():
        raise ValueError(
            f"prices must be {US_INDICES.name} or an existing table ({TABLES}), got {source}. Name another file."
        )
    return _read(path, column)


def _read(path: Path, column: str | None) -> Prices:
    """Returns the prices of a table."""
    table = read_table(path)
    if column is None or column not in table.columns:
        advice = column_advice(column, table.columns)
        raise ValueError(f"prices must be a column of {path}, got {column!r}. {advice} Name it with --target.")
    if "date" not in table.columns:
        raise ValueError(
            f"{path} must have a column named date, got {', '.join(table.columns)}. Rename its column of dates."
        )
    rows = Rows(table.lengths[0])
    asked = {name: table.columns[name] for name in ("date", column)}
    read = read_columns(asked, {"date": "date", column: "number"}, rows, separator=table.separator)
    dates, closes = read["date"].values, read[column].values
    require_ascending(dates)
    simple_returns(closes)  # raises for a price that is not positive
    notes = (*table.notes, f"prices are those of the column {column}")
    return Prices(dates, closes, DataCard(name=table_name(path), source=str(path), sha256=table.sha256, notes=notes))


def require_ascending(dates: Float[np.ndarray, " days"]) -> None:
    """Raises unless each date is later than the one before.

    Args:
        dates: Days since 1970, one per row of a table.

    Raises:
        ValueError: If one is missing, repeated or out of order; the message names its row, counted from 1.

    Example:
        >>> require_ascending(np.array([10595.0, 10599.0, 10596.0]))
        Traceback (most recent call last):
        ...
        ValueError: dates must ascend, got 1999-01-05 in row 3 after 1999-01-08. Sort the rows, and keep one for each date.
    """
    missing = np.isnan(dates)
    if missing.any():
        raise ValueError(
            f"dates must be given in every row, got none in row {int(np.argmax(missing)) + 1}. Fill it in or drop the row."
        )
    falls = np.diff(dates) <= 0
    if falls.any():
        row = int(np.argmax(falls)) + 1
        before, after = (np.datetime64(int(day), "D") for day in dates[row - 1 : row + 1])
        raise ValueError(
            f"dates must ascend, got {after} in row {row + 1} after {before}. Sort the rows, and keep one for each date."
        )


def simple_returns(closes: Float[np.ndarray, " days"]) -> Float[np.ndarray, " returns"]:
    r"""Returns the simple returns of prices, in per cent.

    .. math:: r_t = 100 \left(\frac{p_t}{p_{t-1}} - 1\right)

    Args:
        closes: Prices in order of time, at least two.

    Returns:
        One return fewer than there are prices, float64.

    Raises:
        ValueError: If there are fewer than two prices, or one is not positive and finite; the message names its row, counted
            from 1.

    Example:
        >>> simple_returns(np.array([100.0, 110.0, 99.0])).round(6).tolist()
        [10.0, -10.0]
    """
    closes = np.asarray(closes, np.float64)
    if len(closes) < 2:
        raise ValueError(f"prices must be two or more to have a return, got {len(closes)}. Add days.")
    is_wrong = ~(np.isfinite(closes) & (closes > 0))
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        got = "none" if np.isnan(closes[row]) else f"{closes[row]:g}"
        raise ValueError(f"prices must be positive, got {got} in row {row + 1}. Correct it or drop the row.")
    return 100 * (closes[1:] / closes[:-1] - 1)

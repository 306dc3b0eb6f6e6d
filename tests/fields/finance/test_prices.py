"""Prices and their returns: the bundled indices, your own tables, and the refusals."""

import numpy as np
import pytest

from jaxresearch.fields import finance


@pytest.fixture
def table(tmp_path):
    """Writes a table of prices, a line for each row."""

    def write(*lines, name="mine.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_the_bundled_indices_have_their_card_and_range():
    prices = finance.load_prices("us_indices")
    assert len(prices.closes) == 5031 and prices.card.licence == "NCSA"
    ends = [str(np.datetime64(int(day), "D")) for day in prices.dates[[0, -1]]]
    assert ends == ["1999-01-04", "2018-12-31"] and prices.closes[[0, -1]].tolist() == [1228.1, 2506.85]
    assert prices.card.notes == ("prices are those of the column sp500_close",)
    returns = finance.simple_returns(prices.closes)
    # Known days: the largest fall on 15 October 2008, the largest rise two days before.
    days = [str(np.datetime64(int(prices.dates[place + 1]), "D")) for place in (returns.argmin(), returns.argmax())]
    assert days == ["2008-10-15", "2008-10-13"]
    np.testing.assert_allclose([returns.min(), returns.max()], [-9.035, 11.580], atol=1e-3)


def test_a_table_of_prices_is_read(table):
    path = table("date,volume,close", "2020-01-02,n/k,100", "2020-01-03,7,110", "2020-01-06,8,99")
    prices = finance.load_prices(path, column="close")
    np.testing.assert_allclose(finance.simple_returns(prices.closes), [10, -10])
    assert prices.card.name == "mine" and prices.dates.tolist() == [18263, 18264, 18267]


@pytest.mark.raises
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["2020-01-02,100", "2020-01-03,0"],
            r"^prices must be positive, got 0 in row 2\. Correct it or drop the row\.",
        ),
        (["2020-01-02,-3", "2020-01-03,4"], r"^prices must be positive, got -3 in row 1\."),
        (["2020-01-02,3", "2020-01-03,"], r"^prices must be positive, got none in row 2\."),
        (["2020-01-02,3"], "^prices must be two or more to have a return, got 1"),
        (
            ["2020-01-02,3", "2020-01-06,4", "2020-01-03,5"],
            "^dates must ascend, got 2020-01-03 in row 3 after 2020-01-06. Sort the rows",
        ),
        (["2020-01-02,3", "2020-01-02,4"], "^dates must ascend, got 2020-01-02 in row 2 after 2020-01-02"),
        ([",3", "2020-01-02,4"], "^dates must be given in every row, got none in row 1"),
    ],
)
def test_prices_and_dates_name_the_row_that_is_wrong(table, rows, message):
    with pytest.raises(ValueError, match=message):
        finance.load_prices(table("date,close", *rows), column="close")


@pytest.mark.raises
def test_prices_must_be_in_a_table(table, tmp_path):
    path = table("day,close", "2020-01-02,3", "2020-01-03,4")
    with pytest.raises(ValueError, match="must have a column named date, got day, close. Rename its column of dates"):
        finance.load_prices(path, column="close")
    with pytest.raises(ValueError, match=r"prices must be a column of .*, got 'clos'\. Did you mean 'close'\?"):
        finance.load_prices(path, column="clos")
    with pytest.raises(ValueError, match="got None. Its columns are: day, close. Name it with --target"):
        finance.load_prices(path)
    with pytest.raises(ValueError, match="^prices must be us_indices or an existing table .*, got missing.csv"):
        finance.load_prices("missing.csv")

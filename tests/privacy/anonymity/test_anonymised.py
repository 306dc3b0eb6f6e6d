"""Every class is large and diverse enough, and every generalised cell covers the original one."""

import collections
import json
import re

import numpy as np
import pytest

from jaxresearch.data import bundled
from jaxresearch.privacy import anonymity
from jaxresearch.privacy.anonymity.partition import prefix_diversity

QUASI = ("age", "weight", "zip", "born")
ZIPS = [f"{first}{second}" for first in "01" for second in "0123"]
HIERARCHY = {code: (f"{code[0]}*", "any") for code in ZIPS}


def random_table(seed, n=200):
    """Returns a table with negative numbers, decimals, missing cells, dates and categories."""
    rng = np.random.default_rng(seed)
    weights = [f"{value:.2f}" for value in rng.normal(0, 30, n)]
    return {
        "age": [str(age) if age >= 20 else "NA" for age in rng.integers(18, 60, n)],
        "weight": weights,
        "zip": rng.choice(ZIPS, n).tolist(),
        "born": [f"19{year}-0{month}-11" for year, month in rng.integers([50, 1], [99, 9], (n, 2))],
        "illness": rng.choice(["flu", "cold", "a, b", ""], n, p=[0.6, 0.3, 0.05, 0.05]).tolist(),
    }


def members_of(text):
    """Returns the members of a set."""
    found = re.findall(r'"(?:[^"\\]|\\.)*"|[^,{}]+', text[1:-1])
    return [json.loads(one) if one.strip().startswith('"') else one.strip() for one in found if one.strip()]


def covers(text, word):
    """Returns whether a generalised cell covers the original one, by the rules of the documentation."""
    if text in ("*", word):
        return True
    if text.startswith("{"):
        return word in members_of(text)
    if " to " not in text or word == "NA":
        return False
    low, high = text.split(" to ")
    return low <= word <= high if len(word) == 10 else float(low) <= float(word) <= float(high)


def classes_of(table, quasi, sensitive="illness"):
    """Returns the sensitive values of each combination of the quasi-identifiers."""
    classes = collections.defaultdict(list)
    for *combination, value in zip(*(table[name] for name in (*quasi, sensitive)), strict=True):
        classes[tuple(combination)].append(value)
    return classes


CONDITIONS = [(2, 1, "distinct"), (5, 2, "distinct"), (3, 3, "distinct"), (7, 1.9, "entropy"), (150, 2, "distinct")]


@pytest.mark.parametrize(("k", "l_diversity", "diversity"), CONDITIONS)
@pytest.mark.parametrize("seed", range(4))
def test_anonymise_keeps_k_and_l_and_covers(seed, k, l_diversity, diversity):
    table = random_table(seed)
    made = anonymity.anonymise(
        table, quasi=QUASI, k=k, sensitive="illness", l_diversity=l_diversity, diversity=diversity
    )
    classes = classes_of(made.table, QUASI)
    assert min(map(len, classes.values())) >= k
    assert made.class_sizes == tuple(map(len, classes.values()))
    assert made.discernibility == sum(len(one) ** 2 for one in classes.values())
    for values in classes.values():
        shares = np.array([*collections.Counter(values).values()]) / len(values)
        effective = np.exp(-np.sum(shares * np.log(shares))) if diversity == "entropy" else len(shares)
        assert effective >= l_diversity - 1e-8  # rounding of the sum of logarithms
    assert 0 < made.loss <= 1 and made.loss == pytest.approx(np.mean([*made.losses.values()]))
    for name, column in made.table.items():
        for text, row in zip(column, made.rows, strict=True):
            assert covers(text, table[name][row]) if name in QUASI else text == table[name][row]
    assert sorted(made.rows) == list(range(200))


@pytest.mark.parametrize("numbers", ["range", "mean"])
def test_anonymise_hides_the_order_of_rows(numbers):
    table, order = random_table(0), np.random.default_rng(1).permutation(200)
    shuffled = {name: [column[row] for row in order] for name, column in table.items()}
    options = {"quasi": QUASI, "k": 4, "numbers": numbers, "sensitive": "illness", "l_diversity": 1.5}
    made = anonymity.anonymise(table, diversity="entropy", **options)
    assert made.table == anonymity.anonymise(shuffled, diversity="entropy", **options).table
    assert [*zip(*(made.table[name] for name in (*QUASI, "illness")), strict=True)] == sorted(
        zip(*(made.table[name] for name in (*QUASI, "illness")), strict=True)
    )


def test_anonymise_leaves_an_anonymous_table_as_it_is():
    table = {"age": ["+30", "30.5"] * 3, "sex": ["f", "m"] * 3, "note": [*"abcdef"]}
    for numbers in ("range", "mean"):
        made = anonymity.anonymise(table, quasi=["age", "sex"], k=3, numbers=numbers)
        assert made.loss == 0 and made.losses == {"age": 0, "sex": 0} and made.class_sizes == (3, 3)
        assert made.table == {"age": ["+30"] * 3 + ["30.5"] * 3, "sex": [*"fffmmm"], "note": [*"acebdf"]}


def test_anonymise_equals_a_calculation_by_hand():
    table = {"age": ["20", "30", "40", "70"], "pet": ["cat", "dog", "cat", "eel"]}
    made = anonymity.anonymise(table, quasi=["age", "pet"], k=2)  # both hide everything: age, the first, is cut
    assert made.table == {"age": ["20 to 30"] * 2 + ["40 to 70"] * 2, "pet": ["{cat, dog}"] * 2 + ["{cat, eel}"] * 2}
    assert made.losses == {"age": pytest.approx((10 / 50 + 30 / 50) / 2), "pet": pytest.approx(2 / 3)}
    assert made.discernibility == 8 and made.kinds == {"age": "number", "pet": "category"}


def test_a_generalised_column_has_no_bare_numbers():
    codes = {"zip": ["0150", "0150", "0151", "0152", *["N1"] * 4]}
    made = anonymity.anonymise(codes, quasi=["zip"], k=2, types={"zip": "category"})
    assert made.table["zip"] == [*["N1"] * 4, "{0150}", "{0150}", "{0151, 0152}", "{0151, 0152}"]
    made = anonymity.anonymise({"age": ["3", "3", "5", "6", "", ""]}, quasi=["age"], k=2)
    assert made.table["age"] == ["", "", "3 to 3", "3 to 3", "5 to 6", "5 to 6"]


def test_missing_cells_beside_numbers_hide_them():
    table = {"age": ["NA", "3", "5", "6", "8"]}
    assert anonymity.anonymise(table, quasi=["age"], k=2).table["age"] == ["*", "*", "5 to 8", "5 to 8", "5 to 8"]
    made = anonymity.anonymise(table, quasi=["age"], k=2, numbers="mean")
    assert made.table["age"] == ["", "", "6.33333", "6.33333", "6.33333"]


@pytest.mark.parametrize("numbers", ["range", "mean"])
def test_a_column_of_missing_numbers_stays_as_it_is(numbers):
    table = {"age": ["", "", "", ""], "sex": [*"ffmm"]}
    made = anonymity.anonymise(table, quasi=["age", "sex"], k=2, numbers=numbers, types={"age": "number"})
    assert made.table == table and made.kinds["age"] == "number" and made.loss == 0


def test_means_are_of_the_class_and_in_the_marks_of_the_column():
    table = {"pay": ["1000000,25", "1000000,25", "3,5", "4"], "debt": ["-1", "2,5", "2000000", "2000001,5"]}
    made = anonymity.anonymise(table, quasi=["pay"], k=2, numbers="mean")
    assert made.table["pay"] == ["1000000,25"] * 2 + ["3,75"] * 2
    made = anonymity.anonymise(table, quasi=["debt"], k=2, numbers="mean")
    assert made.table["debt"] == ["0,75"] * 2 + ["2000001"] * 2
    days = {"born": ["2024-01-01", "2024-01-03", "2024-01-08"]}
    made = anonymity.anonymise(days, quasi=["born"], k=3, numbers="mean")
    assert made.table["born"] == ["2024-01-04"] * 3 and made.kinds == {"born": "date"}


def test_a_hierarchy_generalises_to_the_lowest_common_ancestor():
    table = {"zip": ["00", "00", "01", "02", "10", "11"]}
    made = anonymity.anonymise(table, quasi=["zip"], k=2, hierarchies={"zip": HIERARCHY})
    assert made.table["zip"] == ["0*", "0*", "00", "00", "1*", "1*"]
    assert made.class_sizes == (2, 2, 2)
    assert made.loss == pytest.approx((2 * 0 + 4 * 4 / 8) / 6)  # four of eight leaves under 0* and 1*
    one = anonymity.anonymise({"zip": ["00", "12"]}, quasi=["zip"], k=2, hierarchies={"zip": HIERARCHY})
    assert one.table["zip"] == ["any"] * 2 and one.loss == 1


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_a_hierarchy_are_ancestors(seed):
    table = random_table(seed)
    made = anonymity.anonymise(table, quasi=QUASI, k=6, hierarchies={"zip": HIERARCHY})
    assert min(made.class_sizes) >= 6
    for text, row in zip(made.table["zip"], made.rows, strict=True):
        word = table["zip"][row]
        assert text in (word, *HIERARCHY[word])


def test_loss_rises_with_k_on_house_sales():
    sales = bundled.ames(types={"Neighborhood": "text"}).parts["train"]["inputs"]
    quasi = ["Year_Built", "Gr_Liv_Area", "Neighborhood"]
    made = [anonymity.anonymise(sales, quasi=quasi, k=k) for k in (2, 5, 10, 25)]
    assert all(min(one.class_sizes) >= k for one, k in zip(made, (2, 5, 10, 25), strict=True))
    for rising in ([one.loss for one in made], [one.discernibility for one in made]):
        assert rising == sorted(rising) and rising[0] < rising[-1] / 2
    assert made[0].kinds == {"Year_Built": "number", "Gr_Liv_Area": "number", "Neighborhood": "category"}


def test_prefix_diversity_equals_counting():
    values = np.random.default_rng(0).integers(0, 4, 50)
    for n in range(1, 51):
        shares = np.unique(values[:n], return_counts=True)[1] / n
        assert prefix_diversity(values)[n - 1] == len(shares)
        entropy = -np.sum(shares * np.log(shares))
        assert prefix_diversity(values, diversity="entropy")[n - 1] == pytest.approx(np.exp(entropy), abs=1e-9)


TABLE = {"age": ["3", "4", "5"], "sex": ["f", "m", "f"], "illness": ["flu", "flu", "cold"]}
MISTAKES = {
    "no rows": ({"k": 4}, "k must be at most the number of rows, 3, got 4. Lower k."),
    "k of 1": ({"k": 1}, "k must be at least 2, got 1."),
    "no quasi": ({"quasi": []}, "quasi must name at least one column, got none. Choose one of age, sex, illness."),
    "unknown": ({"quasi": ["agee"]}, "quasi must name columns of the table, got 'agee'. Did you mean 'age'?"),
    "sensitive": (
        {"sensitive": "ilness"},
        "sensitive must name columns of the table, got 'ilness'. Did you mean 'illn",
    ),
    "two roles": ({"sensitive": "age"}, "a column must have one role, got age in quasi and sensitive. Leave one out."),
    "twice": ({"quasi": ["age", "age"]}, "a column must have one role, got age in quasi twice."),
    "l alone": ({"l_diversity": 2}, "l needs a sensitive column, got l = 2 without one. Name the sensitive column."),
    "l of 0": ({"l_diversity": 0}, "l must be at least 1, got 0."),
    "large l": (
        {"sensitive": "illness", "l_diversity": 3},
        "l must be at most the distinct diversity of the whole sensitive column, 2, got 3. Lower l.",
    ),
    "entropy": (
        {"sensitive": "illness", "l_diversity": 2, "diversity": "entropy"},
        "the entropy diversity of the whole sensitive column, 1.89, got 2",
    ),
    "types": ({"types": {"sex": "category"}}, "types must name quasi-identifiers, got 'sex'. Choose one of age."),
    "drop": ({"types": {"age": "drop"}}, "quasi must name columns to keep, got age with the type drop."),
    "kind": ({"types": {"age": "numbr"}}, "got age=numbr. Did you mean 'number'?"),
    "value": (
        {"quasi": ["sex"], "hierarchies": {"sex": {"f": ["any"]}}},
        "hierarchy of sex must have every value of the column, got none for 'm'. Add a row.",
    ),
    "levels": (
        {"quasi": ["sex"], "hierarchies": {"sex": {"f": ["any"], "m": []}}},
        "hierarchy of sex must have 1 ancestors for every value, got 0 for 'm'. Repeat one.",
    ),
    "no tree": (
        {"quasi": ["sex"], "hierarchies": {"sex": {"f": ["x", "a"], "m": ["x", "b"]}}},
        "hierarchy of sex must have one parent for each label, got 'a' and 'b' for 'x'. Correct one.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_anonymise_refuses_mistakes(mistake):
    options, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=re.escape(message)):
        anonymity.anonymise(TABLE, **{"quasi": ["age"], "k": 2, **options})


def test_anonymise_refuses_columns_of_two_lengths():
    with pytest.raises(ValueError, match=re.escape("columns must be of one length, got [2, 3] cells. Complete them.")):
        anonymity.anonymise({**TABLE, "sex": ["f", "m"]}, quasi=["age"], k=2)


@pytest.mark.parametrize("seed", range(3))
def test_units_are_counted_in_place_of_rows(seed):
    table, draw = random_table(seed), np.random.default_rng(seed)
    units = draw.integers(0, 40, len(table["illness"])).tolist()
    made = anonymity.anonymise(table, quasi=["age", "zip"], k=6, units=units)
    people = collections.defaultdict(set)
    for place, row in enumerate(made.rows):
        people[made.table["age"][place], made.table["zip"][place]].add(units[row])
    assert len(people) > 1 and min(map(len, people.values())) >= 6


def test_units_are_checked():
    table = {"age": ["30", "31", "32", "33"]}
    with pytest.raises(ValueError, match=r"k must be at most the number of units, 2, got 3\. Lower k\."):
        anonymity.anonymise(table, quasi=["age"], k=3, units=["a", "b", "a", "b"])
    with pytest.raises(ValueError, match=r"units must name the unit of each of 4 rows, got 3\. Complete them\."):
        anonymity.anonymise(table, quasi=["age"], k=2, units=["a", "b", "a"])

"""What still singles rows out, compared with counting by hand."""

import re

import numpy as np
import pytest

from jaxresearch.privacy import anonymity

TABLE = {
    "age": ["20 to 29"] * 3 + ["30 to 39"] * 2,
    "city": ["A", "A", "B", "A", "B"],
    "job": ["x", "y", "x", "y", "y"],
    "name": ["u1", "u2", "u3", "u4", "u5"],
    "illness": ["flu", "flu", "cold", "flu", "flu"],
}


def test_identifiability_equals_counting():
    found = anonymity.identifiability(TABLE, quasi=["age"], sensitive="illness")
    assert (found.n_rows, found.n_classes, found.smallest_class) == (5, 2, 2)
    assert found.n_unique_rows == 5 and found.identifying == {"name": 1.0}
    counted = {(one.first, one.second): one.n_unique_rows for one in found.pairs}
    assert counted == {
        ("age", "city"): 3,
        ("city", "job"): 3,
        ("job", "illness"): 2,
        ("city", "illness"): 2,
        ("age", "job"): 1,
    }
    assert found.n_pairs == 6 and [*counted.values()] == sorted(counted.values(), reverse=True)
    assert (found.n_homogeneous_classes, found.n_homogeneous_rows, found.least_distinct) == (1, 2, 1)
    assert found.t_closeness == pytest.approx(0.2)  # all flu, against four fifths


def test_identifiability_leaves_pseudonyms_out():
    kept = {name: TABLE[name] for name in ("age", "city", "name")}
    found = anonymity.identifiability(kept, quasi=["age", "city"], pseudonyms=["name"])
    assert found.identifying == {} and found.pairs == () and found.n_pairs == 0
    assert found.n_unique_rows == 3 and found.smallest_class == 1 and found.t_closeness is None


def test_a_table_without_quasi_identifiers_is_one_class():
    found = anonymity.identifiability({"city": TABLE["city"]}, sensitive="city")
    assert (found.n_classes, found.smallest_class, found.t_closeness) == (1, 5, 0)


def test_t_closeness_of_numbers_follows_their_order():
    # Li et al. (2007), section 4.1: of salaries of 3k to 11k, 3k, 4k, 5k are at a distance of 0.375 and 6k, 8k, 11k of 0.167.
    for members, distance in (("345", 0.375), (("6", "8", "11"), 1 / 6)):
        pay = [str(number) for number in range(3, 12)]
        table = {"class": ["a" if one in members else "b" for one in pay], "pay": pay}
        found = anonymity.identifiability(table, quasi=["class"], sensitive="pay")
        assert found.t_closeness == pytest.approx(
            distance
        )  # the other class is twice as large, so at half the distance


def test_t_closeness_equals_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    classes, values = rng.integers(0, 4, 100), rng.integers(0, 9, 100)
    table = {"class": classes.astype(str).tolist(), "pay": values.astype(str).tolist()}
    found = anonymity.identifiability(table, quasi=["class"], sensitive="pay")
    ranks = np.unique(values, return_inverse=True)[1]
    furthest = max(stats.wasserstein_distance(ranks[classes == one], ranks) for one in range(4))
    assert found.t_closeness == pytest.approx(furthest / ranks.max())


def test_identifiability_refuses_mistakes():
    for options, message in (
        ({"quasi": ["agee"]}, "quasi must name columns of the table, got 'agee'. Did you mean 'age'?"),
        ({"pseudonyms": ["nam"]}, "pseudonyms must name columns of the table, got 'nam'. Did you mean 'name'?"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            anonymity.identifiability(TABLE, **options)
    with pytest.raises(
        ValueError, match=re.escape("quasi must be a list of columns, got the word 'age'. Pass ['age'].")
    ):
        anonymity.identifiability(TABLE, quasi="age")
    with pytest.raises(ValueError, match="table must have rows, got none. Give it data."):
        anonymity.identifiability({"age": []})


def test_pseudonyms_that_link_rows_are_counted():
    """Class 30 holds a and b, class 40 holds b alone, in two rows."""
    table = {"age": ["30", "30", "40", "40"], "id": ["a", "b", "b", "b"], "visit": ["1", "2", "3", "4"]}
    found = anonymity.identifiability(table, quasi=["age"], pseudonyms=["id", "visit"])
    assert found.linked == {"id": anonymity.Linked(n_values=2, fewest_in_class=1, n_across_classes=1)}


def test_columns_that_could_tell_people_apart_are_linked():
    n = 60
    table = {
        "age": [str(30 + row % 2) for row in range(n)],
        "patient": [str(row // 2) for row in range(n)],
        "doctor": [f"Dr {row % 20}" for row in range(n)],
        "seen": [f"2024-01-{1 + row % 25:02}" for row in range(n)],
        "pressure": [str(80 + row % 25) for row in range(n)],
        "ward": [f"ward {row % 5}" for row in range(n)],
        "note": [f"note {min(row, 49)}" for row in range(n)],
    }
    found = anonymity.identifiability(table, quasi=["age"])
    assert found.linked == {"patient": anonymity.Linked(30, 30, 30), "doctor": anonymity.Linked(20, 10, 0)}
    assert found.units is None
    assert [*anonymity.identifiability(table, quasi=["patient"], sensitive="doctor").linked] == []


def test_units_of_rows_are_counted_in_classes():
    table = {"age": ["30", "30", "40", "40"]}
    found = anonymity.identifiability(table, quasi=["age"], units=["a", "b", "b", "b"])
    assert found.units == anonymity.Linked(n_values=2, fewest_in_class=1, n_across_classes=1) and found.linked == {}
    with pytest.raises(ValueError, match="units must name the unit of each of 4 rows, got 3"):
        anonymity.identifiability(table, quasi=["age"], units=[1, 2, 3])

"""Queries as text: what is one SELECT, and which parameters it has."""

import pytest

from jaxresearch.data.files.queries import parsed, require_ordered, require_values


@pytest.mark.parametrize(
    ("query", "text", "parameters", "is_ordered"),
    [
        ("select 1", "select 1", (), False),
        ("  SELECT a FROM t WHERE b = :b AND c < :c;  -- the end", "SELECT a FROM t WHERE b = :b AND c < :c", ("b", "c"), False),
        ("select :b, :b from t order by a", "select :b, :b from t order by a", ("b",), True),
        ("with one as (select a from t order by a) select * from one", None, (), False),
        ("select row_number() over (order by a) from t", None, (), False),
        ("select a from t ORDER\n BY a limit 5", None, (), True),
        ("select 'x; :y' from t", r"select 'x; \:y' from t", (), False),
        ("select 'it''s :one' as \"a:b\" from t", "select 'it''s \\:one' as \"a\\:b\" from t", (), False),
        (r"select e'it\'s; x' from t", None, (), False),
        ("select $tag$ ; :a $tag$ from t", r"select $tag$ ; \:a $tag$ from t", (), False),
        ("select a::int from t where b = :b::date", r"select a\:\:int from t where b = :b\:\:date", ("b",), False),
        ("select /* :a; */ b from t -- order by :c", "select   b from t", (), False),
        ("(select 1) union (select 2)", None, (), False),
        ("values (1), (2)", None, (), False),
    ],
)  # fmt: skip
def test_parsed_finds_parameters_and_order(query, text, parameters, is_ordered):
    found = parsed(query)
    assert (found.parameters, found.is_ordered) == (parameters, is_ordered)
    assert found.text == (query if text is None else text)


@pytest.mark.parametrize(
    ("query", "got"),
    [
        ("delete from t", "one that begins with DELETE"),
        ("/* select */ drop table t", "one that begins with DROP"),
        ("pragma user_version", "one that begins with PRAGMA"),
        (" -- select 1", "none"),
        ("select 1; drop table t", "several statements, the next of which begins with 'drop'"),
        ("select ';' ; ; select 2", "several statements, the next of which begins with 'select'"),
    ],
)
def test_parsed_refuses_what_is_not_one_select(query, got):
    with pytest.raises(ValueError, match=f"^query must be a single SELECT, got {got}. (A run only reads|Pass one).$"):
        parsed(query)


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (("a",), {}, "a value for :a of the query, got none. Pass --parameters a=VALUE."),
        (("year",), {"yaer": "1"}, "a value for :year of the query, got none. Did you mean 'year' by 'yaer'?"),
        (("a",), {"a": "1", "b": "2"}, "those of the query, got 'b'; its parameters are a. Write :b in it, or leave"),
        ((), {"b": "2"}, "those of the query, got 'b'; it has no parameters. Write :b in it, or leave it out."),
    ],
)
def test_each_parameter_needs_a_value(names, values, message):
    require_values(names, dict.fromkeys(names, "1"))
    with pytest.raises(ValueError, match=f"^parameters must (have|be) {message}".replace("?", r"\?")):
        require_values(names, values)


def test_rows_without_an_order_have_no_last_ones():
    require_ordered("select * from t order by a")
    with pytest.raises(ValueError, match="^query must order its rows where .* got one without ORDER BY. Add ORDER BY"):
        require_ordered("select * from t")

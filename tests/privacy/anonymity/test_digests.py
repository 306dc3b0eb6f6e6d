"""Pseudonyms equal the standard's test vectors, and depend on the key."""

import re

import pytest

from jaxresearch.privacy import anonymity

KEY = bytes(range(32))


def test_pseudonym_equals_the_test_vector_of_the_standard():
    # RFC 4231, test case 6: a key of 131 bytes.
    expected = "60e431591ee0b67f0d8a26aacbf5b77f"
    assert anonymity.pseudonym("Test Using Larger Than Block-Size Key - Hash Key First", b"\xaa" * 131) == expected


def test_pseudonyms_are_equal_for_equal_values_alone():
    values = [f"person {number}" for number in range(1000)]
    made = anonymity.pseudonyms(values, KEY)
    assert made == anonymity.pseudonyms(values, KEY) and len({*made}) == 1000
    assert not {*made} & {*anonymity.pseudonyms(values, KEY[::-1])}
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert anonymity.pseudonyms([" Zoë ", "Zoë", "", " "], KEY) == [anonymity.pseudonym("Zoë", KEY)] * 2 + ["", ""]


def test_pseudonym_refuses_a_short_key():
    with pytest.raises(
        ValueError, match="key must have at least 32 bytes, got 31. Create one: head -c 32 /dev/urandom"
    ):
        anonymity.pseudonym("Ada", bytes(31))

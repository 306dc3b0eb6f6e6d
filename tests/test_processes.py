"""What processes share about an error, also if it has no message."""

import jax
import pytest

from jaxresearch import processes


@pytest.fixture
def sent(monkeypatch):
    """What this process, as the first of two, sends to the other."""
    values = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "each", lambda value: values.append(value) or [value, value])
    return values


def failing():
    """Fails without a message."""
    raise AssertionError


def test_agreeing_shares_an_error_without_a_message(sent):
    with pytest.raises(AssertionError), processes.agreeing():
        failing()
    assert sent == ["AssertionError"]


def test_from_main_shares_an_error_without_a_message(sent):
    with pytest.raises(AssertionError):
        processes.from_main(failing, {})
    assert [content["error"] for content in sent] == ["AssertionError"]

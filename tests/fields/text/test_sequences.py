"""Rows of tokens: padded on either side, and windows that predict each token exactly once."""

import numpy as np
import pytest

from jaxresearch.fields import text

SEQUENCES = [[5, 6, 7], [], [8], np.array([1, 2, 3, 4])]


@pytest.mark.parametrize("length", [None, 1, 3, 9])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pad_agrees_with_a_loop(length, side):
    n = length or 4
    expected = []
    for sequence in map(list, SEQUENCES):
        filler = [0] * (n - len(sequence))
        expected.append((filler + sequence)[-n:] if side == "left" else (sequence + filler)[:n])
    rows = text.pad(SEQUENCES, padding=0, length=length, side=side)
    assert rows.tolist() == expected and rows.dtype == np.int32


@pytest.mark.raises
@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        ([], {}, "sequences must hold at least one sequence, got none"),
        ([[]], {}, "length must be 1 or more, got 0"),
        ([[1]], {"length": 0}, "length must be 1 or more, got 0"),
        ([[1]], {"side": "both"}, "side must be left or right, got 'both'"),
    ],
)
def test_pad_refuses(sequences, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        text.pad(sequences, padding=0, **options)


@pytest.mark.parametrize("n_tokens", [2, 4, 12, 13, 14, 25])
def test_windows_predict_each_token_once(n_tokens):
    stream = np.arange(100, 100 + n_tokens)
    windows = text.next_token_windows(stream, length=4, padding=9)
    inputs, targets = windows["inputs"], windows["targets"]
    is_asked = targets >= 0
    assert targets[is_asked].tolist() == stream[1:].tolist()
    assert inputs[is_asked].tolist() == stream[:-1].tolist()
    assert (inputs[~is_asked] == 9).all() and is_asked.any(axis=1).all()
    assert inputs.dtype == targets.dtype == np.int32 and inputs.shape[1] == 4


@pytest.mark.parametrize("n_tokens", [5, 12, 13, 14])
def test_windows_leave_out_a_last_one_that_is_not_full(n_tokens):
    stream = np.arange(n_tokens)
    windows = text.next_token_windows(stream, length=4, padding=9, drop_last=True)
    n = (n_tokens - 1) // 4
    np.testing.assert_array_equal(windows["inputs"], stream[: 4 * n].reshape(n, 4))
    np.testing.assert_array_equal(windows["targets"], stream[1 : 4 * n + 1].reshape(n, 4))


@pytest.mark.parametrize("n_tokens", [2, 4, 5, 6, 12, 13, 14])
@pytest.mark.parametrize("overlap", [1, 3])
def test_overlapping_windows_score_each_token_once(n_tokens, overlap):
    stream = np.arange(n_tokens)
    windows = text.next_token_windows(stream, length=4, padding=99, overlap=overlap)
    inputs, targets = windows["inputs"], windows["targets"]
    np.testing.assert_array_equal(targets[targets >= 0], stream[1:])
    np.testing.assert_array_equal(inputs[targets >= 0], stream[:-1])
    assert (targets[1:, :overlap] < 0).all() and (targets[0, : min(4, n_tokens - 1)] >= 0).all()
    np.testing.assert_array_equal(inputs[1:, :overlap], inputs[:-1, -overlap:])  # the context


@pytest.mark.raises
@pytest.mark.parametrize(
    ("n_tokens", "options", "message"),
    [
        (9, {"length": 0}, "length must be 1 or more, got 0"),
        (9, {"length": 4, "overlap": 4}, "overlap must be from 0 to 3, below the length, got 4"),
        (9, {"length": 4, "overlap": -1}, "overlap must be from 0 to 3, below the length, got -1"),
        (1, {"length": 4}, "stream must hold 2 tokens or more, got 1"),
        (4, {"length": 4, "drop_last": True}, "stream must hold 5 tokens or more, got 4"),
    ],
)
def test_windows_refuse(n_tokens, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        text.next_token_windows(np.arange(n_tokens), padding=0, **options)


def test_a_record_stream_holds_each_text_and_its_end():
    tokeniser, texts = text.byte_tokeniser(specials=("<term>", "<end>")), [["né", "", "b"], ["A", "zinc", ""]]
    stream = text.record_stream(tokeniser, [np.array(column, object) for column in texts], ends=(256, 257))
    spelt = "".join({256: "|", 257: "$"}.get(token) or chr(token) for token in stream)
    assert spelt.encode("latin-1").decode() == "$né|A$|zinc$b|$"
    assert stream.dtype == np.int32
    assert text.record_stream(tokeniser, [[]], ends=(257,)).tolist() == [257]


@pytest.mark.raises
@pytest.mark.parametrize(
    ("columns", "ends", "message"),
    [
        ([], (), r"columns must be one or more, equally long, got lengths \[\]"),
        ([["a"], []], (1, 2), r"columns must be one or more, equally long, got lengths \[1, 0\]"),
        ([["a"]], (1, 2), "ends must hold one token for each of 1 columns, got 2"),
    ],
)
def test_record_stream_refuses(columns, ends, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        text.record_stream(text.byte_tokeniser(), columns, ends=ends)

"""Parameters of another run: read without its experiment, verified and left unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import records
from jaxresearch.algorithms import Averaged, Stopped
from jaxresearch.training import TrainState

PARAMS = {"block": {"kernel": np.arange(12.0, dtype=np.float32).reshape(2, 2, 3), "bias": np.ones((2, 3), np.float32)}}


def written(directory, params=PARAMS, cipher=None, result='{"smoke": false}', state_of=lambda state: state):
    checkpoints = records.Checkpoints(directory, cipher=cipher)
    checkpoints.write(3, state_of(TrainState(params, {}, optax.adam(0.1).init(params))))
    if result is not None:
        (directory / "result.json").write_text(result)
    return directory


@pytest.fixture
def ciphers(tmp_path):
    """Returns the cipher of a key, and that of another."""
    encrypt = pytest.importorskip("jaxresearch.records.encryption")
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_bytes(bytes(range(32)))
    other.write_bytes(bytes(32))
    return encrypt.read_key(key), encrypt.read_key(other)


def test_read_params_gives_what_was_written(tmp_path):
    read = records.read_params(str(written(tmp_path)))  # with the user's settings
    assert (read["block"]["kernel"] == PARAMS["block"]["kernel"]).all() and read["block"]["bias"].shape == (2, 3)


def test_read_params_decrypts_with_the_key_alone(tmp_path, ciphers):
    cipher, other = ciphers
    (tmp_path / "encrypted").mkdir()
    directory = written(tmp_path / "encrypted", cipher=cipher)
    assert (records.read_params(directory, cipher=cipher)["block"]["kernel"] == PARAMS["block"]["kernel"]).all()
    with pytest.raises(records.CheckpointError, match="is encrypted. Pass its key: --encrypt-with KEYFILE"):
        records.read_params(directory)
    with pytest.raises(
        records.CheckpointError, match="was encrypted with another key. Pass the key it was saved with."
    ):
        records.read_params(directory, cipher=other)


def test_kept_params_are_encrypted_with_a_key(tmp_path, ciphers):
    cipher, other = ciphers
    for name, own in (("plain", None), ("encrypted", cipher)):
        (tmp_path / name).mkdir()
        assert records.kept_params(tmp_path / name, cipher=own) is None
        records.keep_params(tmp_path / name, PARAMS, cipher=own)
        kept = records.kept_params(str(tmp_path / name), cipher=own)
        jax.tree.map(np.testing.assert_array_equal, kept, PARAMS)
    content = PARAMS["block"]["kernel"].tobytes()
    assert not any(content in file.read_bytes() for file in (tmp_path / "encrypted").rglob("*") if file.is_file())
    with pytest.raises(records.CheckpointError, match="step 0 of .*encrypted is encrypted. Pass its key"):
        records.kept_params(tmp_path / "encrypted")
    with pytest.raises(
        records.CheckpointError, match="was encrypted with another key. Pass the key it was saved with."
    ):
        records.kept_params(tmp_path / "encrypted", cipher=other)
    with pytest.raises(records.CheckpointError, match="step 0 of .*plain is not encrypted. Leave --encrypt-with out."):
        records.kept_params(tmp_path / "plain", cipher=cipher)


def test_altered_copies_of_params_are_set_aside(tmp_path, flip_a_bit):
    records.keep_params(tmp_path, PARAMS)
    flip_a_bit(tmp_path / "checkpoints" / "0")
    with pytest.warns(UserWarning, match=f"is altered; moved to {tmp_path / 'quarantine'}$"):
        assert records.kept_params(tmp_path) is None
    assert (tmp_path / "quarantine" / "0").is_dir() and "is altered" in (tmp_path / "quarantine" / "0.txt").read_text()
    records.keep_params(tmp_path, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, records.kept_params(tmp_path), PARAMS)


def test_params_that_cannot_be_written_name_their_place(tmp_path):
    with pytest.raises(records.CheckpointError, match="initial parameters could not be written to .*nowhere: step 0"):
        records.keep_params(tmp_path / "nowhere", PARAMS)


def test_read_params_refuses_an_altered_file_and_moves_nothing(tmp_path, flip_a_bit):
    directory = written(tmp_path)
    flip_a_bit(directory / "checkpoints" / "3")
    with pytest.raises(records.CheckpointError, match="is altered"):
        records.read_params(directory)
    assert records.Checkpoints(directory).steps() == [3] and not (directory / "quarantine").exists()


def test_read_params_needs_a_state_with_params_in_dicts(tmp_path):
    with pytest.raises(
        records.CheckpointError,
        match="must hold the final state of a run, got .* without one. Train it",
    ):
        records.read_params(tmp_path)
    written(tmp_path, params=[jnp.ones((2, 3))])
    with pytest.raises(records.CheckpointError, match=r"must be in dicts by name, got \[0\]."):
        records.read_params(tmp_path)


@pytest.mark.parametrize(
    "state_of",
    [
        lambda state: Averaged(state, jax.tree.map(np.zeros_like, state.params)),
        lambda state: Stopped(
            Averaged(state, state.params), Averaged(jax.tree.map(np.zeros_like, state), state.params), *np.zeros((3, 2))
        ),
    ],
    ids=["averaged", "stopped"],
)
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_read_params_finds_those_of_the_outcome(tmp_path, ciphers, state_of, is_encrypted):
    cipher = ciphers[0] if is_encrypted else None
    read = records.read_params(written(tmp_path, state_of=state_of, cipher=cipher), cipher=cipher)
    jax.tree.map(np.testing.assert_array_equal, read, PARAMS)


def test_read_params_needs_params_in_the_state(tmp_path):
    written(tmp_path, state_of=lambda state: {"generator": state})
    with pytest.raises(
        records.CheckpointError, match="a run must have params to start from, got step 3 of .* without. Name another."
    ):
        records.read_params(tmp_path)


def test_read_params_needs_a_finished_run(tmp_path):
    directory = tmp_path / "my run"
    directory.mkdir()
    written(directory, result=None)
    with pytest.raises(
        records.CheckpointError, match=r"without result.json. Resume it: jaxresearch resume '.*my run'$"
    ):
        records.read_params(directory)
    (directory / "result.json").write_text("[]")
    with pytest.raises(ValueError, match=r"result.json must hold a JSON object, got \[\]. Restore it."):
        records.read_params(directory)


def test_read_params_refuses_a_smoke_run_if_asked_to(tmp_path):
    written(tmp_path, result='{"smoke": true}')
    assert records.read_params(tmp_path).keys() == PARAMS.keys() == records.read_params(tmp_path, smoke=True).keys()
    with pytest.raises(
        records.CheckpointError,
        match="must come from a full run, got the smoke run .*. Run it",
    ):
        records.read_params(tmp_path, smoke=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"config.json must hold a JSON object, got \[\]. Restore it."),
        ('"x"', 'config.json must hold a JSON object, got "x". Restore it.'),
        (
            '{"data_card": null}',
            "must be the configuration of a run, got one without a complete data card. Restore it.",
        ),
        (
            '{"data_card": {"vocabulary": null}}',
            "must be the configuration of a run, got one without a complete data card. Restore it.",
        ),
        ("{}", "must be the configuration of a run, got one without a complete data card. Restore it."),
        ("{", "config.json must hold valid JSON, got an error"),
    ],
)
def test_vocabulary_of_refuses_what_is_no_configuration(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        records.vocabulary_of(tmp_path)


def test_vocabulary_of_a_run(tmp_path):
    with pytest.raises(ValueError, match="directory must hold a run, got .* without config.json. Correct the path."):
        records.vocabulary_of(tmp_path)
    (tmp_path / "config.json").write_text('{"data_card": {"vocabulary": ["A", "C"]}}')
    assert records.vocabulary_of(tmp_path) == ("A", "C")
    (tmp_path / "config.json").write_text('{"data_card": {}}')
    assert records.vocabulary_of(tmp_path) == ()

"""Parameters of another run: read without its experiment, verified, and left where they are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import records
from jaxresearch.training import TrainState

PARAMS = {"block": {"kernel": np.arange(12.0, dtype=np.float32).reshape(2, 2, 3), "bias": np.ones((2, 3), np.float32)}}


def written(directory, params=PARAMS, cipher=None, result='{"smoke": false}'):
    checkpoints = records.Checkpoints(directory, cipher=cipher)
    checkpoints.write(3, TrainState(np.zeros(2, np.int32), params, {}, optax.adam(0.1).init(params)))
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
    read = records.read_params(str(written(tmp_path)))  # as a user has it
    assert (read["block"]["kernel"] == PARAMS["block"]["kernel"]).all() and read["block"]["bias"].shape == (2, 3)


def test_read_params_opens_what_is_sealed_and_tells_the_wrong_way(tmp_path, ciphers):
    cipher, other = ciphers
    (tmp_path / "sealed").mkdir()
    directory = written(tmp_path / "sealed", cipher=cipher)
    assert (records.read_params(directory, cipher=cipher)["block"]["kernel"] == PARAMS["block"]["kernel"]).all()
    with pytest.raises(records.CheckpointError, match="is sealed: pass its key"):
        records.read_params(directory)
    with pytest.raises(records.CheckpointError, match="opened by the key that sealed it"):
        records.read_params(directory, cipher=other)


def test_kept_params_are_what_was_kept_and_sealed_with_a_key(tmp_path, ciphers):
    cipher, other = ciphers
    for name, own in (("plain", None), ("sealed", cipher)):
        (tmp_path / name).mkdir()
        assert records.kept_params(tmp_path / name, cipher=own) is None
        records.keep_params(tmp_path / name, PARAMS, cipher=own)
        kept = records.kept_params(str(tmp_path / name), cipher=own)
        jax.tree.map(np.testing.assert_array_equal, kept, PARAMS)
    content = PARAMS["block"]["kernel"].tobytes()
    assert not any(content in file.read_bytes() for file in (tmp_path / "sealed").rglob("*") if file.is_file())
    with pytest.raises(records.CheckpointError, match="step 0 of .*sealed is sealed: pass its key"):
        records.kept_params(tmp_path / "sealed")
    with pytest.raises(records.CheckpointError, match="opened by the key that sealed it"):
        records.kept_params(tmp_path / "sealed", cipher=other)
    with pytest.raises(records.CheckpointError, match="step 0 of .*plain is not sealed: leave the key out"):
        records.kept_params(tmp_path / "plain", cipher=cipher)


def test_kept_params_that_were_altered_are_set_aside_and_count_as_nothing(tmp_path, flip_a_bit):
    records.keep_params(tmp_path, PARAMS)
    flip_a_bit(tmp_path / "checkpoints" / "0")
    with pytest.warns(UserWarning, match=f"is altered; moved to {tmp_path / 'quarantine'}$"):
        assert records.kept_params(tmp_path) is None
    assert (tmp_path / "quarantine" / "0").is_dir() and "is altered" in (tmp_path / "quarantine" / "0.txt").read_text()
    records.keep_params(tmp_path, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, records.kept_params(tmp_path), PARAMS)


def test_params_that_cannot_be_kept_are_told_with_their_place(tmp_path):
    with pytest.raises(
        records.CheckpointError, match="parameters to begin with could not be kept in .*nowhere: step 0"
    ):
        records.keep_params(tmp_path / "nowhere", PARAMS)


def test_read_params_refuses_an_altered_file_and_moves_nothing(tmp_path, flip_a_bit):
    directory = written(tmp_path)
    flip_a_bit(directory / "checkpoints" / "3")
    with pytest.raises(records.CheckpointError, match="is altered"):
        records.read_params(directory)
    assert records.Checkpoints(directory).steps() == [3] and not (directory / "quarantine").exists()


def test_read_params_refuses_a_directory_without_states_and_params_that_are_no_dicts(tmp_path):
    with pytest.raises(records.CheckpointError, match="must hold the last state of a run"):
        records.read_params(tmp_path)
    written(tmp_path, params=[jnp.ones((2, 3))])
    with pytest.raises(records.CheckpointError, match="must be in dicts by name"):
        records.read_params(tmp_path)


def test_read_params_wants_a_run_that_has_ended(tmp_path):
    directory = tmp_path / "my run"
    directory.mkdir()
    written(directory, result=None)
    with pytest.raises(
        records.CheckpointError, match=r"holds no result.json. Go on with: jaxresearch resume '.*my run'$"
    ):
        records.read_params(directory)
    (directory / "result.json").write_text("[]")
    with pytest.raises(ValueError, match=r"result.json must hold entries by name; it holds \[\]. Restore it."):
        records.read_params(directory)


def test_read_params_refuses_a_smoke_run_where_it_is_told_to(tmp_path):
    written(tmp_path, result='{"smoke": true}')
    assert records.read_params(tmp_path).keys() == PARAMS.keys() == records.read_params(tmp_path, smoke=True).keys()
    with pytest.raises(records.CheckpointError, match="is of a smoke run. Run it without --smoke."):
        records.read_params(tmp_path, smoke=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"config.json must hold entries by name; it holds \[\]. Restore it."),
        ('"x"', 'config.json must hold entries by name; it holds "x". Restore it.'),
        ('{"data_card": null}', "holds no data card that is whole"),
        ('{"data_card": {"vocabulary": null}}', "holds no data card that is whole"),
        ("{}", "holds no data card that is whole"),
        ("{", "config.json must be whole JSON"),
    ],
)
def test_vocabulary_of_refuses_what_is_no_configuration(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        records.vocabulary_of(tmp_path)


def test_vocabulary_of_a_run(tmp_path):
    with pytest.raises(ValueError, match="holds no config.json"):
        records.vocabulary_of(tmp_path)
    (tmp_path / "config.json").write_text('{"data_card": {"vocabulary": ["A", "C"]}}')
    assert records.vocabulary_of(tmp_path) == ("A", "C")
    (tmp_path / "config.json").write_text('{"data_card": {}}')
    assert records.vocabulary_of(tmp_path) == ()

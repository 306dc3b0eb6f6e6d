"""Encrypted states: nothing of the arrays is on the disk in the clear, and nothing opens them but the key."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch.privacy.encrypt import Cipher, DecryptionError, read_key
from jaxresearch.records import CheckpointError, Checkpoints

ROOT = Path(__file__).parents[2]


def state(step):
    """Returns a small state with a scalar, an empty array and a typed key."""
    return {
        "step": np.int32(step),
        "none": np.zeros((0, 2)),
        "key": jax.random.key(step),
        "kernel": np.arange(6.0).reshape(2, 3),
    }


def test_a_sealed_state_comes_back_and_is_nowhere_in_the_clear(tmp_path):
    cipher = Cipher(os.urandom(32))
    marked = {**state(3), "kernel": np.frombuffer(b"a secret weight!" * 64, np.float32)}
    Checkpoints(tmp_path, cipher=cipher).write(3, marked)
    found = Checkpoints(tmp_path, cipher=cipher).restore(marked)
    assert found.step == 3 and found.state.pop("key") == marked.pop("key")
    for name, array in marked.items():
        np.testing.assert_array_equal(found.state[name], array)
        assert found.state[name].dtype == array.dtype and found.state[name].shape == array.shape
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert contents and not any(b"a secret weight!" in content for content in contents)
    clear = tmp_path / "clear"
    clear.mkdir()
    path = Checkpoints(clear).write(3, {"kernel": np.arange(4.0)})
    assert json.loads((path / "manifest.json").read_text())["manifest"]["sealed"] is False


def test_another_key_or_none_is_told_and_sets_nothing_aside(tmp_path):
    Checkpoints(tmp_path, cipher=Cipher(bytes(32))).write(3, state(3))
    with pytest.raises(CheckpointError, match="step 3 must be opened by the key that sealed it; this one is another"):
        Checkpoints(tmp_path, cipher=Cipher(os.urandom(32))).restore(state(3))
    with pytest.raises(CheckpointError, match="it is sealed; pass its key"):
        Checkpoints(tmp_path).restore(state(3))
    assert Checkpoints(tmp_path).steps() == [3] and not (tmp_path / "quarantine").exists()


def test_every_bit_of_a_sealed_content_counts():
    cipher = Cipher(os.urandom(32))
    sealed = cipher.seal(b"weights", name="a")
    assert cipher.open(sealed, name="a") == b"weights" and cipher.seal(b"weights", name="a") != sealed
    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionError):
            cipher.open(bytes(altered), name="a")
    for wrong, name in ((cipher, "b"), (Cipher(os.urandom(32)), "a")):
        with pytest.raises(DecryptionError, match="must be whole and of this key"):
            wrong.open(sealed, name=name)
    with pytest.raises(DecryptionError):
        cipher.open(b"", name="a")


def test_a_key_file_is_checked(tmp_path):
    (tmp_path / "short").write_bytes(b"x" * 31)
    with pytest.raises(ValueError, match="must be a file of 32 bytes; .*short holds 31. Make one: head -c 32"):
        read_key(tmp_path / "short")
    with pytest.raises(ValueError, match="must be a key file that can be read; got .*none"):
        read_key(tmp_path / "none")


def jaxresearch(*words):
    return subprocess.run(
        [sys.executable, "-m", "jaxresearch", *map(str, words)], capture_output=True, text=True, cwd=ROOT
    )


def test_a_run_is_kept_sealed_and_goes_on_with_its_key_alone(tmp_path):
    key, directory = tmp_path / "key", tmp_path / "run"
    key.write_bytes(os.urandom(32))
    words = ["run", "mnist", "--smoke", "--save-every", "0", "--directory", directory, "--encrypt-with", key]
    bad = jaxresearch(*words[:-1], tmp_path / "none")
    assert bad.returncode == 2 and len(bad.stderr.splitlines()) == 1 and not directory.exists()
    done = jaxresearch(*words)
    assert done.returncode == 0, done.stderr
    assert list(directory.glob("checkpoints/*/arrays/*.sealed")) and jaxresearch("verify", directory).returncode == 0
    (directory / "result.json").unlink()  # as if it had been killed at the end
    key.write_bytes(os.urandom(32))
    other = jaxresearch("resume", directory)
    assert other.returncode == 1 and "must be opened by the key that sealed it" in other.stderr
    assert len(other.stderr.splitlines()) == 1 and not (directory / "quarantine").exists()

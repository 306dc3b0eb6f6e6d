"""The secret of a private run is drawn once, and never silently replaced."""

import re

import pytest

from jaxresearch import records
from jaxresearch.records.encryption import Cipher, DecryptionError


def test_noise_secret_is_drawn_once(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    first = records.noise_secret(tmp_path, is_new=True)
    assert first == records.noise_secret(tmp_path, is_new=True) == records.noise_secret(tmp_path)
    assert first != records.noise_secret(other, is_new=True)
    assert all(0 <= word < 2**32 for word in first)
    files = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert files == [records.NOISE_ID, records.NOISE_KEY]


def test_noise_secret_is_encrypted_with_a_cipher(tmp_path):
    secret = records.noise_secret(tmp_path, cipher=Cipher(bytes(32)), is_new=True)
    content = (tmp_path / records.NOISE_KEY).read_bytes()
    assert b"".join(word.to_bytes(4, "little") for word in secret) not in content
    assert records.noise_secret(tmp_path, cipher=Cipher(bytes(32))) == secret
    with pytest.raises(DecryptionError, match="noise.key was altered, or encrypted with another key"):
        records.noise_secret(tmp_path, cipher=Cipher(bytes(31) + b"1"))


def test_noise_secret_must_be_there_and_whole(tmp_path):
    message = f"{tmp_path / records.NOISE_KEY} must hold the secret of the noise, got no readable file"
    with pytest.raises(ValueError, match=re.escape(message)):
        records.noise_secret(tmp_path)
    (tmp_path / records.NOISE_KEY).write_bytes(b"short")
    with pytest.raises(ValueError, match="must hold 16 bytes, got 5. Restore it, or start anew."):
        records.noise_secret(tmp_path, is_new=True)


def test_the_secret_of_another_run_is_refused(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        records.noise_secret(tmp_path / name, is_new=True)
    one, other = (tmp_path / name / records.NOISE_KEY for name in ("one", "other"))
    one.write_bytes(other.read_bytes())
    with pytest.raises(
        ValueError, match="noise.key must be the secret with which the run was started, [0-9a-f]{16} in"
    ):
        records.noise_secret(tmp_path / "one")
    (tmp_path / "other" / records.NOISE_ID).unlink()
    with pytest.raises(
        ValueError, match="with which the run was started, none in noise.id, got [0-9a-f]{16}. Restore it"
    ):
        records.noise_secret(tmp_path / "other")


def test_the_published_id_says_nothing_of_the_secret(tmp_path):
    records.noise_secret(tmp_path, is_new=True)
    content = (tmp_path / records.NOISE_KEY).read_bytes()
    assert (tmp_path / records.NOISE_ID).read_text() == content[8:].hex()  # the secret is in the first half
    (tmp_path / records.NOISE_KEY).write_bytes(bytes(8) + content[8:])
    assert records.noise_secret(tmp_path) == (0, 0)

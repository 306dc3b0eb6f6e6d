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
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [records.NOISE_KEY]


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
    with pytest.raises(ValueError, match="must hold 8 bytes, got 5. Restore it, or start anew."):
        records.noise_secret(tmp_path, is_new=True)

"""Encryption at rest: AES-256 in Galois/Counter mode, by the cryptography package."""

import os
from pathlib import Path
from typing import NamedTuple

_KEY_BYTES = 32
_NONCE_BYTES = 12


class DecryptionError(ValueError):
    """Content was altered, or encrypted with another key or name; the message is one line."""


class Cipher(NamedTuple):
    """A key that encrypts and decrypts; content is bound to a name.

    Example:
        >>> cipher = Cipher(bytes(32))
        >>> cipher.decrypt(cipher.encrypt(b"weights", name="10/kernel"), name="10/kernel")
        b'weights'
        >>> cipher.decrypt(cipher.encrypt(b"weights", name="10/kernel"), name="20/kernel")
        Traceback (most recent call last):
        ...
        jaxresearch.records.encryption.DecryptionError: 20/kernel was altered, or encrypted with another key.

    References:
        Dworkin (2007), Recommendation for block cipher modes of operation: Galois/Counter mode, NIST SP 800-38D.
        https://doi.org/10.6028/NIST.SP.800-38D
    """

    key: bytes

    def encrypt(self, content: bytes, *, name: str) -> bytes:
        """Returns the content encrypted with a fresh nonce from the operating system."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + _aes(self.key).encrypt(nonce, content, name.encode())

    def decrypt(self, encrypted: bytes, *, name: str) -> bytes:
        """Returns the content given to `encrypt`; raises `DecryptionError` if a bit, the key or the name differs."""
        from cryptography.exceptions import InvalidTag

        try:
            return _aes(self.key).decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise DecryptionError(f"{name} was altered, or encrypted with another key.") from error


def read_key(path: Path) -> Cipher:
    """Returns the cipher of a key file.

    Args:
        path: A file of 32 random bytes.

    Returns:
        The cipher.

    Raises:
        ValueError: If the file cannot be read or has another length, or the cryptography package is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "key"
        >>> _ = path.write_bytes(os.urandom(32))
        >>> cipher = read_key(path)
    """
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"encrypt_with must name a readable key file, got {path} ({error.strerror}). Correct it."
        ) from error
    if len(key) != _KEY_BYTES:
        raise ValueError(
            f"encrypt_with must name a file of {_KEY_BYTES} bytes, got {path} with {len(key)}. "
            f"Create one: head -c {_KEY_BYTES} /dev/urandom > KEYFILE"
        )
    _aes(key)
    return Cipher(key)


def _aes(key: bytes):
    """Returns the library's cipher."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ValueError(
            'encryption needs the cryptography package, which is not installed. Run: pip install "jaxresearch[privacy]"'
        ) from error
    return AESGCM(key)

"""Encryption at rest: AES-256 in Galois/Counter mode, by the cryptography package."""

import os
from pathlib import Path
from typing import NamedTuple

_KEY_BYTES = 32
_NONCE_BYTES = 12


class DecryptionError(ValueError):
    """A content that is altered, or was encrypted by another key or under another name; the message is one line."""


class Cipher(NamedTuple):
    """A key that seals and opens contents; each content is bound to the name that it is sealed under.

    Example:
        >>> cipher = Cipher(bytes(32))
        >>> cipher.open(cipher.seal(b"weights", name="10/kernel"), name="10/kernel")
        b'weights'
        >>> cipher.open(cipher.seal(b"weights", name="10/kernel"), name="20/kernel")
        Traceback (most recent call last):
        ...
        jaxresearch.records.encryption.DecryptionError: 20/kernel must be whole and of this key; it is altered or of another.

    References:
        Dworkin (2007), Recommendation for block cipher modes of operation: Galois/Counter mode, NIST SP 800-38D.
        https://doi.org/10.6028/NIST.SP.800-38D
    """

    key: bytes

    def seal(self, content: bytes, *, name: str) -> bytes:
        """Returns the content encrypted under a nonce of its own, drawn by the operating system."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + _aes(self.key).encrypt(nonce, content, name.encode())

    def open(self, sealed: bytes, *, name: str) -> bytes:
        """Returns the content of `seal`; raises `DecryptionError` where a bit of it, the key or the name is another."""
        from cryptography.exceptions import InvalidTag

        try:
            return _aes(self.key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise DecryptionError(f"{name} must be whole and of this key; it is altered or of another.") from error


def read_key(path: Path) -> Cipher:
    """Returns the cipher of a key file.

    Args:
        path: A file of 32 bytes, drawn at random.

    Returns:
        The cipher.

    Raises:
        ValueError: If the file cannot be read or is of another length, or the cryptography package is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "key"
        >>> _ = path.write_bytes(os.urandom(32))
        >>> cipher = read_key(path)

    References:
        Dworkin (2007), as in `Cipher`.
    """
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ValueError(f"encrypt_with must be a key file that can be read; got {path} ({error.strerror}).") from error
    if len(key) != _KEY_BYTES:
        raise ValueError(
            f"encrypt_with must be a file of {_KEY_BYTES} bytes; {path} holds {len(key)}. "
            f"Make one: head -c {_KEY_BYTES} /dev/urandom > KEYFILE"
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

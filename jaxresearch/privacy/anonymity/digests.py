"""Pseudonyms: keyed digests, which only the holder of the key can recompute."""

import hmac
from collections.abc import Sequence

KEY_BYTES = 32
_HEX_DIGITS = 32  # 128 bits: two of 2^40 values collide with a probability of 2^-49


def pseudonym(value: str, key: bytes) -> str:
    """Returns the first 128 bits of HMAC-SHA256, in hexadecimal digits.

    Args:
        value: Any text; spaces around it do not count. An empty one stays empty.
        key: At least 32 secret bytes. Equal values have equal pseudonyms under one key, in all columns and tables.

    Returns:
        32 digits.

    Raises:
        ValueError: If the key is shorter.

    Example:
        >>> pseudonym("Ada", bytes(range(32)))
        '2350a00a677aa51d5efb4a2e440a00b9'

    References:
        Krawczyk, Bellare and Canetti (1997), HMAC: keyed-hashing for message authentication, RFC 2104.
        https://www.rfc-editor.org/rfc/rfc2104
    """
    require_key(key)
    value = value.strip()
    return hmac.digest(key, value.encode(), "sha256").hex()[:_HEX_DIGITS] if value else ""


def pseudonyms(values: Sequence[str], key: bytes) -> list[str]:
    """Returns the pseudonym of each value of a column.

    Args:
        values: Text.
        key: As for `pseudonym`.

    Returns:
        One per value.

    Example:
        >>> first, second, third = pseudonyms(["Ada", "Ada", "Bob"], bytes(range(32)))
        >>> first == second, first == third
        (True, False)
    """
    return [pseudonym(value, key) for value in values]


def require_key(key: bytes, *, source: str = "key") -> None:
    """Raises for a key that can be guessed.

    Args:
        key: Secret bytes.
        source: Names it in the message.

    Raises:
        ValueError: If it is shorter than 32 bytes.

    Example:
        >>> require_key(bytes(range(32)))
    """
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"{source} must have at least {KEY_BYTES} bytes, got {len(key)}. "
            f"Create one: head -c {KEY_BYTES} /dev/urandom > KEYFILE"
        )

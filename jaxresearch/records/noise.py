"""``noise.key``: the secret of a private run, from which its sampling and its noise are derived; ``noise.id`` names it.

The id is random and independent of the secret, so that it may be published.
"""

import os
import secrets
from pathlib import Path
from typing import Any

from jaxresearch.records.files import write_file

NOISE_KEY, NOISE_ID = "noise.key", "noise.id"
_BYTES, _OF_SECRET = 16, 8


def noise_secret(directory: Path, *, cipher: Any = None, is_new: bool = False) -> tuple[int, int]:
    """Returns the two 32-bit words of a private run's secret.

    Args:
        directory: Of the run.
        cipher: Encrypts the file, or None.
        is_new: Whether nothing has been trained yet, so that a missing file is created, readable by its owner alone.

    Raises:
        ValueError: If the file is missing, was altered or belongs to another run: with another secret, the same steps would be
            taken with two different noises.

    Example:
        >>> import tempfile
        >>> directory = Path(tempfile.mkdtemp())
        >>> noise_secret(directory, is_new=True) == noise_secret(directory)
        True
    """
    path = directory / NOISE_KEY
    if is_new and not path.exists():
        _write(path, secrets.token_bytes(_BYTES), cipher)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} must hold the secret of the noise, got no readable file ({error.strerror}). Restore it, or start anew."
        ) from error
    content = content if cipher is None else cipher.decrypt(content, name=NOISE_KEY)
    if len(content) != _BYTES:
        raise ValueError(f"{path} must hold {_BYTES} bytes, got {len(content)}. Restore it, or start anew.")
    if is_new:
        write_file(directory / NOISE_ID, content[_OF_SECRET:].hex().encode())
    _require_own(directory, content)
    return int.from_bytes(content[:4], "little"), int.from_bytes(content[4:_OF_SECRET], "little")


def _require_own(directory: Path, content: bytes) -> None:
    """Raises unless the secret is the one with which the run was started."""
    file = directory / NOISE_ID
    recorded, found = file.read_text() if file.exists() else "none", content[_OF_SECRET:].hex()
    if recorded != found:
        raise ValueError(
            f"{directory / NOISE_KEY} must be the secret with which the run was started, {recorded} in {NOISE_ID}, got {found}. "
            "Restore it, or start anew."
        )


def _write(path: Path, content: bytes, cipher: Any) -> None:
    """Writes the file for its owner alone, completely or not at all."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content if cipher is None else cipher.encrypt(content, name=NOISE_KEY))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)

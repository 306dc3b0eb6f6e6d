"""Files that come with the package: read, and verified before they are unpacked."""

import hashlib
from importlib import resources
from pathlib import Path

from jaxresearch.data.tables import unpacked


def read_bundled(folder: str, name: str, *, sha256: str) -> bytes:
    r"""Returns the content of a file of the package, unpacked, if the file is the original one.

    Args:
        folder: Its folder in ``archives``.
        name: Its name; ``.gz`` and ``.xz`` are unpacked.
        sha256: The digest of the original, packed as it is.

    Returns:
        The bytes.

    Raises:
        ValueError: If the file is not the original one, by its SHA-256.

    Example:
        >>> digest = "b73dc8b991b095587f72f9d1553faa4edfbf246a6a3052071319c2d218df753c"
        >>> read_bundled("stop_words", "stopwords_en.txt", sha256=digest)[:7]
        b'a\nabout'

    References:
        NIST (2015), FIPS 180-4, Secure hash standard. https://doi.org/10.6028/NIST.FIPS.180-4
    """
    raw = (resources.files("jaxresearch.data") / "archives" / folder / name).read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if digest != sha256:
        raise ValueError(f"{name} must have SHA-256 {sha256}; got {digest}. The archive was altered: install it again.")
    return unpacked(raw, Path(name))

"""The result of a reader: parts as the source provides them, not yet split."""

from typing import NamedTuple

from jaxresearch.data.dataset import DataCard
from jaxresearch.data.parts import Part


class Collected(NamedTuple):
    """Parts of a source: ``train``, and ``test`` and ``validation`` if the source has them.

    Attributes:
        parts: By name.
        card: Its ``split`` has the default fraction to hold out; None if there is a test part.
    """

    parts: dict[str, Part]
    card: DataCard

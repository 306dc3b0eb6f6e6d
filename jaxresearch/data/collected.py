"""What a reader gives: parts as the source has them, not yet divided."""

from typing import NamedTuple

from jaxresearch.data.dataset import DataCard
from jaxresearch.data.parts import Part


class Collected(NamedTuple):
    """Parts of a source: ``train``, and ``test`` and ``validation`` where the source has them.

    Attributes:
        parts: By name.
        card: Its ``split`` has the fraction that is held out unless the user gives one; None where there is a test part.
    """

    parts: dict[str, Part]
    card: DataCard

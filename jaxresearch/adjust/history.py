"""What a study has tried, and the signature of a strategy: ``(history) -> Proposal or None``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Trial(NamedTuple):
    """A setting that was tried: its hyperparameters, its metrics with an axis of seeds, whether a seed diverged.

    ``gradient`` is of the structure of the hyperparameters, each leaf with the axis of seeds; None unless asked for.
    ``digest`` is that of all that the trial came from (`jaxresearch.execution.provenance.digests`).
    """

    hyperparameters: Any
    metrics: dict[str, np.ndarray]
    diverged: bool
    gradient: Any = None
    digest: str = ""


class Round(NamedTuple):
    """What was tried at once and why; ``scores``, one a trial, are the better the higher, -inf where it diverged or is undefined.

    ``differentiate`` and ``replayable`` are those of the proposal that it came from; ``seconds`` is what it took.
    """

    why: str
    trials: tuple[Trial, ...]
    scores: tuple[float, ...]
    differentiate: str | None = None
    replayable: bool = True
    seconds: float = 0.0

    @property
    def best(self) -> Trial:
        """The trial of the highest score."""
        return self.trials[int(np.argmax(self.scores))]


class Proposal(NamedTuple):
    """What to try next, and why in a sentence; ``differentiate`` names a metric whose hypergradient is wanted with it.

    It is ``replayable`` where the history alone gives it; what others have put into a shared storage is no part of that.
    """

    settings: tuple[Any, ...]
    why: str
    differentiate: str | None = None
    replayable: bool = True


History = tuple[Round, ...]


Adjust = Callable[[History], Proposal | None]

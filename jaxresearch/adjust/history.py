"""The history of a study, and the type of a strategy: ``(history) -> Proposal or None``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Trial(NamedTuple):
    """One evaluated setting: its hyperparameters, its metrics with an axis of seeds, and whether a seed diverged.

    ``gradient`` has the structure of the hyperparameters, each leaf with an axis of seeds; None if not requested.
    ``digest`` covers everything that the trial depends on (`jaxresearch.execution.provenance.digests`).
    """

    hyperparameters: Any
    metrics: dict[str, np.ndarray]
    diverged: bool
    gradient: Any = None
    digest: str = ""


class Round(NamedTuple):
    """The trials of one proposal, and its reason; ``scores`` (higher is better) are -inf for diverged or undefined trials.

    ``differentiate`` and ``replayable`` are copied from the proposal; ``seconds`` is the wall time of the round.
    """

    why: str
    trials: tuple[Trial, ...]
    scores: tuple[float, ...]
    differentiate: str | None = None
    replayable: bool = True
    seconds: float = 0.0

    @property
    def best(self) -> Trial:
        """The trial with the highest score."""
        return self.trials[int(np.argmax(self.scores))]


class Proposal(NamedTuple):
    """The settings to try next, and the reason; ``differentiate`` names a metric whose hypergradient to compute.

    A proposal is ``replayable`` if it depends only on the history, not on trials of other studies in a shared storage.
    """

    settings: tuple[Any, ...]
    why: str
    differentiate: str | None = None
    replayable: bool = True


History = tuple[Round, ...]


Adjust = Callable[[History], Proposal | None]

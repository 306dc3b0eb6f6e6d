"""Execute experiments: compile once for all runs, advance in chunks, validate on the way, evaluate at the end."""

from jaxresearch.execution.divergence import Divergence
from jaxresearch.execution.ensembles import Predictions, predictions, scored
from jaxresearch.execution.execute import Keeping, Outcome, Progress, Start, execute, execute_all
from jaxresearch.execution.latency import latencies
from jaxresearch.execution.means import require_mean
from jaxresearch.execution.preflight import preflight
from jaxresearch.execution.reading import Feed
from jaxresearch.execution.stages import chunk_ends
from jaxresearch.execution.states import OutputsFn, blank_state, differentiate, outputs_fn_of, predict

__all__ = [
    "Divergence",
    "Feed",
    "Keeping",
    "Outcome",
    "OutputsFn",
    "Predictions",
    "Progress",
    "Start",
    "blank_state",
    "chunk_ends",
    "differentiate",
    "execute",
    "execute_all",
    "latencies",
    "outputs_fn_of",
    "predict",
    "predictions",
    "preflight",
    "require_mean",
    "scored",
]

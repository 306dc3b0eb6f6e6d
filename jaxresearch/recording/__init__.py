"""Run experiments on record: save checkpoints, resume bit for bit, and write the results.

`record` does in a notebook what ``jaxresearch run`` does; both call the same functions. Nothing here prints: displays and signals
are passed as arguments.
"""

from jaxresearch.interruption import Interrupted
from jaxresearch.recording.examples import examples_of
from jaxresearch.recording.guard import UnwrittenError, guarded
from jaxresearch.recording.initial import start_from
from jaxresearch.recording.notebook import record
from jaxresearch.recording.results import result_of, write_result
from jaxresearch.recording.runs import Job, NonFiniteError, Trained, train
from jaxresearch.recording.saving import Recorder
from jaxresearch.recording.settings import train_all

__all__ = [
    "Interrupted",
    "Job",
    "NonFiniteError",
    "Recorder",
    "Trained",
    "UnwrittenError",
    "guarded",
    "record",
    "result_of",
    "start_from",
    "examples_of",
    "train",
    "train_all",
    "write_result",
]

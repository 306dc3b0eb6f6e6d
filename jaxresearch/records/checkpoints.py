"""Checkpoints: the arrays of a state, by Orbax."""

from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, PyTree


def save_checkpoint(directory: Path, state: PyTree[Array | np.ndarray], *, step: int) -> Path:
    """Returns the folder that now holds the state, under ``directory`` and the name of the step.

    Args:
        directory: The checkpoints of a run.
        state: Arrays.
        step: Steps made.

    Returns:
        The folder; it appears under its name when it is whole.

    Example:
        >>> import tempfile, numpy as np
        >>> save_checkpoint(Path(tempfile.mkdtemp()), {"weights": np.ones(3)}, step=10).name
        '10'

    References:
        Orbax documentation, checkpointing PyTrees. https://orbax.readthedocs.io/en/latest/
    """
    folder = directory.absolute() / str(step)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, state)
    return folder

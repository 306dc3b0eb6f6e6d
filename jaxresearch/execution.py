"""One experiment carried out: compiled once for all seeds, advanced in chunks, evaluated once at the end.

It neither prints nor writes; whoever calls sees each chunk through ``observe``.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxresearch import experiment as experiments
from jaxresearch import sweeps
from jaxresearch.compilation import CompiledFunction
from jaxresearch.data import Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.gradients import Metrics
from jaxresearch.training import TrainState

_CHUNKS = 20  # at most: often enough for a progress bar, too seldom to cost


class Progress(NamedTuple):
    """The chunk of steps just made: training metrics are ``(seeds, steps of the chunk)``, seconds without compiling."""

    step: int
    n_steps: int
    steps_per_epoch: int
    metrics: dict[str, np.ndarray]
    seconds: float


class Outcome(NamedTuple):
    """What came out, with a leading axis of seeds: the last state, and the evaluation metrics by name.

    ``seconds`` tells compiling, training and evaluating apart; ``examples_per_second`` counts the examples of all seeds.
    """

    state: TrainState
    metrics: dict[str, np.ndarray]
    seconds: dict[str, float]
    examples_per_second: float
    n_compilations: int


def execute(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    observe: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Returns the outcome of an experiment for several seeds, trained side by side.

    Args:
        experiment: The stages.
        hyperparameters: The settings, the same for all seeds.
        dataset: Preprocessed data. Its test part is read once, after the last step.
        seeds: One run for each.
        observe: Called after each chunk of steps, while the next one is already under way.

    Returns:
        State and metrics of all seeds, and where the time went.

    Raises:
        ValueError: If there is no seed, or a hyperparameter is out of its bounds or does not fit the data.

    Example:
        >>> from jaxresearch import losses, metrics, models, training
        >>> from jaxresearch.data import DataCard
        >>> from jaxresearch.experiment import hyperparameters, static
        >>> from jaxresearch.statistics import Claim
        >>> import numpy as np
        >>> @hyperparameters
        ... class Line:
        ...     batch_size: int = static(4, "examples a step")
        ...     epochs: int = static(30, "passes")
        >>> experiment = Experiment(
        ...     question="A line?", claim=Claim(text="R2", metric="test/r2", at_least=0.9), hyperparameters=Line(), source="",
        ...     model=lambda h, card: models.linear(card.n_features, 1),
        ...     loss_fn=lambda model, h: training.supervised(model, losses.half_squared_error),
        ...     optimizer=lambda h, n_steps: training.gradient_descent(0.3),
        ...     metrics=lambda card: {"r2": metrics.r2()})
        >>> x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
        >>> part = {"inputs": x, "targets": 2 * x}
        >>> dataset = Dataset(part, part, None, DataCard(name="line", source="", feature_shape=(1,)))
        >>> outcome = execute(experiment, Line(), dataset, seeds=range(3))
        >>> outcome.metrics["r2"].round(2).tolist(), outcome.n_compilations
        ([1.0, 1.0, 1.0], 3)

    References:
        Agarwal, Schwarzer, Castro, Courville and Bellemare (2021), Deep reinforcement learning at the edge of the
        statistical precipice, NeurIPS (why several seeds). https://arxiv.org/abs/2108.13264
    """
    if not len(seeds):
        raise ValueError("seeds must hold at least one number; got none. Pass range(10) for a narrow interval.")
    experiments.check(hyperparameters)
    program = experiments.program(experiment, dataset.card)
    n_examples = len(dataset.train["targets"])
    n_steps = experiments.n_steps(hyperparameters, n_examples)
    steps_per_epoch = n_steps // hyperparameters.epochs
    n_chunk = chunk_steps(n_steps)

    def advance_chunk(key, hyperparameters, state, data):
        return program.advance(key, hyperparameters, state, data, n_chunk)

    init = CompiledFunction(sweeps.sweep(program.init, (0, None, None)))
    advance = CompiledFunction(sweeps.sweep(advance_chunk, (0, None, 0, None)), donate_argnums=(2,))
    evaluate = CompiledFunction(sweeps.sweep(program.evaluate, (None, 0, None)))

    def watch(step: int, metrics: Metrics) -> None:
        values = {name: np.asarray(value) for name, value in metrics.items()}  # waits for the chunk
        observe(Progress(step, n_steps, steps_per_epoch, values, time.perf_counter() - start - advance.seconds))

    keys, data = sweeps.keys(seeds), sweeps.place(dataset.train, n_runs=len(seeds))
    state = jax.block_until_ready(init(keys, hyperparameters, data))
    start, made = time.perf_counter(), []
    for step in range(n_chunk, n_steps + 1, n_chunk):
        state, metrics = advance(keys, hyperparameters, state, data)
        made.append((step, metrics))
        if len(made) > 1:
            watch(*made.pop(0))  # the device is at the next chunk meanwhile
    watch(*made.pop())
    jax.block_until_ready(state)
    trained = time.perf_counter()

    test = sweeps.place(dataset.test, n_runs=len(seeds))
    metrics = jax.tree.map(np.asarray, evaluate(hyperparameters, state, test))
    stages = (init, advance, evaluate)
    seconds = {
        "compile": sum(stage.seconds for stage in stages),
        "train": trained - start - advance.seconds,
        "evaluate": time.perf_counter() - trained - evaluate.seconds,
    }
    speed = n_steps * hyperparameters.batch_size * len(seeds) / seconds["train"]
    return Outcome(state, metrics, seconds, speed, sum(stage.n_compilations for stage in stages))


def chunk_steps(n_steps: int) -> int:
    """Returns the steps between two looks at a run: an equal part of it, so that one program serves all chunks.

    Chunked and whole runs agree bit for bit, so this choice changes no number.

    Args:
        n_steps: Steps of the whole run, 1 or more.

    Returns:
        ``n_steps`` over its largest divisor up to 20.

    Example:
        >>> chunk_steps(9375), chunk_steps(7), chunk_steps(10_007)
        (625, 1, 10007)

    References:
        JAX documentation, ``jax.lax.scan`` (a scan compiles its body once, whatever its length).
        https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html
    """
    return min(n_steps // parts for parts in range(1, _CHUNKS + 1) if n_steps % parts == 0)

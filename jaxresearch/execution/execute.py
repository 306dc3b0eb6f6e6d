"""One experiment carried out: compiled once for all seeds, advanced in chunks, evaluated once at the end.

It neither prints nor writes; whoever calls sees each chunk through ``observe``.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxresearch import devices, hypergradients, sweeps
from jaxresearch import experiment as experiments
from jaxresearch.adjust import Trial
from jaxresearch.data import Dataset
from jaxresearch.execution import provenance
from jaxresearch.execution.compilation import CompiledFunction
from jaxresearch.experiment import Experiment
from jaxresearch.gradients import Metrics
from jaxresearch.hyperparameters import check
from jaxresearch.training import TrainState

_CHUNKS = 20  # at most: often enough for a progress bar, too seldom to cost
_FEWEST_CHUNKS = 5  # with fewer of equal length, a shorter last one and its program are worth their cost


class Keeping(NamedTuple):
    """When a state is kept and how: ``due()`` is asked after each chunk but the last; ``keep(steps made, state)`` copies it.

    The chunk has been observed by then. The next one reuses the memory of the state. What ``keep`` raises ends the run.
    """

    due: Callable[[], bool]
    keep: Callable[[int, TrainState], None]


_NOTHING_KEPT = Keeping(lambda: False, lambda step, state: None)


class Progress(NamedTuple):
    """The chunk of steps just made: training metrics are ``(runs, steps of the chunk)``, seconds without compiling.

    ``n_examples`` counts those that all runs have seen since this process began with them; compiling is counted from there
    as well. ``what`` says of a study what is trained.
    """

    step: int
    n_steps: int
    steps_per_epoch: int
    metrics: dict[str, np.ndarray]
    seconds: float
    n_examples: int
    compile_seconds: float
    n_compilations: int
    what: str = ""


class Outcome(NamedTuple):
    """What came out, with a leading axis of seeds: the last state, and the evaluation metrics by name.

    ``seconds`` tells compiling, training and evaluating apart; ``examples_per_second`` counts the examples of all seeds;
    ``resumed_from`` is the step that this process began with.
    """

    state: TrainState
    metrics: dict[str, np.ndarray]
    seconds: dict[str, float]
    examples_per_second: float
    n_compilations: int
    resumed_from: int = 0


def execute(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    observe: Callable[[Progress], None] = lambda progress: None,
    start: tuple[int, TrainState] | None = None,
    keeping: Keeping = _NOTHING_KEPT,
) -> Outcome:
    """Returns the outcome of an experiment for several seeds, trained side by side.

    Args:
        experiment: The stages.
        hyperparameters: The settings, the same for all seeds.
        dataset: Preprocessed data. Its test part is read once, after the last step.
        seeds: One run for each; of folds, as many as there are, and run ``i`` is trained on fold ``i``.
        observe: Called after each chunk of steps, while the next one is already under way.
        start: The steps made and the state to go on from, as of a checkpoint; step 0 of the seeds unless given.
        keeping: Which states are kept on the way, as `Keeping` says.

    Returns:
        State and metrics of all seeds, and where the time went. A run that goes on from a state of its own comes to the same
        numbers, bit for bit.

    Raises:
        ValueError: If there is no seed, not one for each fold, or a hyperparameter is out of its bounds or does not fit the
            data.

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
    _require_seeds(seeds)
    if dataset.n_folds not in (0, len(seeds)):
        raise ValueError(f"seeds must be as many as the folds, {dataset.n_folds}; got {len(seeds)}. Pass one for each.")
    check(hyperparameters)
    return _carry_out(experiment, hyperparameters, None, sweeps.keys(seeds), dataset, observe, start, keeping)


def execute_all(
    experiment: Experiment,
    settings: Sequence[Any],
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    observe: Callable[[Progress], None] = lambda progress: None,
    start: tuple[int, TrainState] | None = None,
    keeping: Keeping = _NOTHING_KEPT,
) -> list[Trial]:
    """Returns the metrics of several settings, every one of them with every seed.

    Settings that differ in leaves alone are trained side by side by one program; each choice of static fields is a group,
    and a program, of its own. A setting that diverges is marked, and disturbs no other.

    Args:
        experiment: The stages.
        settings: Hyperparameters, one or more.
        dataset: Preprocessed data; the metrics are of its test part. To choose among settings, pass `data.development`.
        seeds: One run of each setting for each.
        observe: Called after each chunk of steps, as in `execute`; the first axis is settings times seeds of a group.
        start: As in `execute`, for settings of one group.
        keeping: As in `execute`, for settings of one group.

    Returns:
        One trial a setting, in their order.

    Raises:
        ValueError: If there is no setting or no seed, a hyperparameter is out of its bounds or does not fit the data, or
            a state is to be kept or gone on from with settings of several groups.

    Example:
        See ``jaxresearch sweep mnist --learning-rate 1e-4:1e-1:log:4 --smoke``.

    References:
        Bergstra and Bengio (2012), Random search for hyper-parameter optimization, JMLR 13.
        https://jmlr.org/papers/v13/bergstra12a.html
    """
    _require_seeds(seeds)
    if not settings:
        raise ValueError("settings must hold at least one; got none. Pass hyperparameters.")
    trials: dict[int, Trial] = {}
    of_groups = provenance.groups(settings)
    if len(of_groups) > 1 and (start is not None or keeping is not _NOTHING_KEPT):
        raise ValueError(
            f"settings must be of one group to keep its state; got {len(of_groups)}. Pass one of `groups`."
        )
    for places in of_groups:
        chosen = [settings[place] for place in places]
        of_group = _trials(chosen, experiment, dataset, seeds, observe, start, keeping)
        trials |= dict(zip(places, of_group, strict=True))
    return [trials[place] for place in range(len(settings))]


def blank_state(experiment: Experiment, hyperparameters: Any, dataset: Dataset, *, n_runs: int) -> TrainState:
    """Returns shapes and types of the state of several runs; nothing is computed.

    Args:
        experiment: The stages.
        hyperparameters: The settings.
        dataset: Preprocessed data.
        n_runs: Length of the leading axis.

    Returns:
        The structure of `Outcome.state`, with `jax.ShapeDtypeStruct` as leaves.

    Example:
        >>> from jaxresearch.experiment import load
        >>> house = load("house_prices")
        >>> dataset = house.preprocess(house.collect(house.source))
        >>> blank_state(house, house.hyperparameters, dataset, n_runs=3).params["Dense_0"]["kernel"].shape
        (3, 1, 1)

    References:
        JAX documentation, ``jax.eval_shape``. https://docs.jax.dev/en/latest/_autosummary/jax.eval_shape.html
    """
    program = experiments.program(experiment, dataset.card)
    init = jax.vmap(program.init, (0, None, None))
    return jax.eval_shape(init, sweeps.keys(range(n_runs)), hyperparameters, dataset.of_run(0).train)


def predict(experiment: Experiment, hyperparameters: Any, dataset: Dataset, state: TrainState) -> np.ndarray:
    """Returns what the models of several seeds give for the test part.

    Args:
        experiment: The stages.
        hyperparameters: The settings, the same for all seeds.
        dataset: Preprocessed data.
        state: With a leading axis of seeds, as in `Outcome.state`.

    Returns:
        ``(seeds, examples, outputs)``, in the unit of the model's outputs: logits, where there are classes.

    Example:
        >>> from jaxresearch.experiment import load
        >>> house = load("house_prices")
        >>> dataset = house.preprocess(house.collect(house.source))
        >>> state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), blank_state(house, house.hyperparameters, dataset, n_runs=2))
        >>> predict(house, house.hyperparameters, dataset, state).shape == (2, len(dataset.test["targets"]), 1)
        True

    References:
        JAX documentation, ``jax.lax.map``. https://docs.jax.dev/en/latest/_autosummary/jax.lax.map.html
    """
    model = experiment.model(hyperparameters, dataset.card)

    @jax.jit
    def of_seed(state: TrainState, inputs: Any) -> Array:
        def of_example(inputs: Any) -> Array:
            batch = jax.tree.map(lambda leaf: leaf[None], inputs)
            return model.apply(state.params, state.model_state, batch)[0][0]

        return jax.lax.map(of_example, inputs, batch_size=experiment.evaluation_batch)

    states = [jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in range(len(state.step))]
    return np.stack([of_seed(one, dataset.of_run(i).test["inputs"]) for i, one in enumerate(states)])


def differentiate(
    experiment: Experiment, hyperparameters: Any, dataset: Dataset, *, seeds: Sequence[int], metric: str
) -> Any:
    """Returns the hypergradient of an evaluation metric through whole runs, by forward mode, for several seeds at once.

    Args:
        experiment: The stages.
        hyperparameters: Where to differentiate.
        dataset: As in `execute_all`.
        seeds: One run for each.
        metric: One of the experiment's, smooth.

    Returns:
        The structure of the hyperparameters; each leaf has an axis of seeds.

    Raises:
        ValueError: If there is no seed, the experiment does not report the metric, or a swept field is no float.

    Example:
        See ``jaxresearch study schedule``.

    References:
        Franceschi, Donini, Frasconi and Pontil (2017), as in `jaxresearch.hypergradients.forward`.
    """
    _require_seeds(seeds)
    check(hyperparameters)
    unroll = hypergradients.unroll_of(experiments.program(experiment, dataset.card), metric=metric)
    n_steps = experiments.n_steps(hyperparameters, len(dataset.train["targets"]))
    hypergradient = hypergradients.forward(unroll, n_steps=n_steps)
    over_seeds = CompiledFunction(sweeps.sweep(hypergradient, (0, None, None, None)))
    train, validation = (devices.place(part, n_runs=len(seeds)) for part in (dataset.train, dataset.test))
    _, gradient = over_seeds(sweeps.keys(seeds), hyperparameters, train, validation)
    return jax.tree.map(np.asarray, gradient)


def _trials(
    settings: list[Any],
    experiment: Experiment,
    dataset: Dataset,
    seeds: Sequence[int],
    observe: Callable[[Progress], None],
    start: tuple[int, TrainState] | None,
    keeping: Keeping,
) -> list[Trial]:
    """Returns the trials of settings that differ in leaves alone, made by one program."""
    last = {}

    def watch(progress: Progress) -> None:
        last["loss"] = progress.metrics["loss"][:, -1]
        observe(progress)

    def stack(*leaves: Any) -> Array:  # of numbers that are weakly typed, as those of one setting are
        return jnp.repeat(jnp.stack([jnp.asarray(leaf) for leaf in leaves]), len(seeds), axis=0)

    stacked = jax.tree.map(stack, *settings)
    keys = jnp.tile(sweeps.keys(seeds), len(settings))
    outcome = _carry_out(experiment, stacked, 0, keys, dataset, watch, start, keeping)
    shape = (len(settings), len(seeds))
    metrics = {name: values.reshape(*shape, *values.shape[1:]) for name, values in outcome.metrics.items()}
    losses = last["loss"] if last else _sums(outcome.state.params)  # no step was left to make
    finite = np.isfinite(losses).reshape(shape)
    return [
        Trial(setting, {name: values[i] for name, values in metrics.items()}, not finite[i].all())
        for i, setting in enumerate(settings)
    ]


def _sums(params: Any) -> np.ndarray:
    """Returns a number for each of several runs, that is finite where all of its parameters are."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    return np.sum([leaf.reshape(len(leaf), -1).sum(axis=-1) for leaf in leaves], axis=0)


def _require_seeds(seeds: Sequence[int]) -> None:
    """Raises where there is no seed."""
    if not len(seeds):
        raise ValueError("seeds must hold at least one number; got none. Pass range(10) for a narrow interval.")


def _carry_out(
    experiment: Experiment,
    hyperparameters: Any,
    axis: int | None,
    keys: Key[Array, " runs"],
    dataset: Dataset,
    observe: Callable[[Progress], None],
    start: tuple[int, TrainState] | None = None,
    keeping: Keeping = _NOTHING_KEPT,
) -> Outcome:
    """Returns the outcome of one run a key; ``axis`` tells whether each has hyperparameters of its own (0) or not."""
    n_runs = len(keys)
    program = experiments.program(experiment, dataset.card)
    n_examples = dataset.n_train
    n_steps = experiments.n_steps(hyperparameters, n_examples)
    n_a_step = experiments.batch_size(hyperparameters, n_examples) * n_runs
    steps_per_epoch = n_steps // hyperparameters.epochs

    @functools.cache
    def advance_by(n: int) -> CompiledFunction:
        def chunk(key, hyperparameters, state, data):
            return program.advance(key, hyperparameters, state, data, n)

        return CompiledFunction(sweeps.sweep(chunk, (0, axis, 0, dataset.axis)), donate_argnums=(2,))

    ends = chunk_ends(n_steps)
    advances = [advance_by(n) for n in sorted({*np.diff([0, *ends]).tolist()})]
    init = CompiledFunction(sweeps.sweep(program.init, (0, axis, dataset.axis)))
    evaluate = CompiledFunction(sweeps.sweep(program.evaluate, (axis, 0, dataset.axis)))
    stages = (init, *advances, evaluate)

    def watch(step: int, metrics: Metrics) -> None:
        values = {name: np.asarray(value) for name, value in metrics.items()}  # waits for the chunk
        seconds = time.perf_counter() - began - sum(advance.seconds for advance in advances)
        compiled = sum(stage.seconds for stage in stages), sum(stage.n_compilations for stage in stages)
        observe(Progress(step, n_steps, steps_per_epoch, values, seconds, (step - n_before) * n_a_step, *compiled))

    train = devices.place(dataset.train, n_runs=n_runs, axis=dataset.axis)
    state = jax.block_until_ready(init(keys, hyperparameters, train))
    n_before, going_on = start or (0, state)
    if start is not None:
        _require_end_of_chunk(n_before, going_on, ends)
    state = jax.tree.map(lambda leaf, first: jax.device_put(leaf, first.sharding), going_on, state)
    began, made = time.perf_counter(), []
    for step, before in zip(ends, [0, *ends], strict=False):
        if before < n_before:
            continue
        state, metrics = advance_by(step - before)(keys, hyperparameters, state, train)
        made.append((step, metrics))
        kept = step < n_steps and keeping.due()
        while len(made) > (not kept):
            watch(*made.pop(0))  # the device is at the next chunk meanwhile, unless a state is kept
        if kept:
            keeping.keep(step, state)
    for last in made:
        watch(*last)
    jax.block_until_ready(state)
    trained = time.perf_counter()

    test = devices.place(dataset.test, n_runs=n_runs, axis=dataset.axis)
    metrics = jax.tree.map(np.asarray, evaluate(hyperparameters, state, test))
    seconds = {
        "compile": sum(stage.seconds for stage in stages),
        "train": trained - began - sum(advance.seconds for advance in advances),
        "evaluate": time.perf_counter() - trained - evaluate.seconds,
    }
    speed = (n_steps - n_before) * n_a_step / seconds["train"]
    return Outcome(state, metrics, seconds, speed, sum(stage.n_compilations for stage in stages), n_before)


def _require_end_of_chunk(step: int, state: TrainState, ends: Sequence[int]) -> None:
    """Raises where a state cannot be gone on from."""
    of_state = set(np.asarray(state.step).ravel().tolist())
    if step not in (0, *ends) or of_state != {step}:
        raise ValueError(
            f"start must be a state at the end of a chunk ({', '.join(map(str, (0, *ends)))}); got step {step} and a state of "
            f"step {', '.join(map(str, sorted(of_state)))}. Start from a state that was kept."
        )


def chunk_ends(n_steps: int) -> tuple[int, ...]:
    """Returns the steps after which a run is looked at and may be saved: at most 20 times, the last one at its end.

    All chunks are of one length, so that one program serves them, or the last one is shorter. Chunked and whole runs agree
    bit for bit, so this choice changes no number.

    Args:
        n_steps: Steps of the whole run, 1 or more.

    Returns:
        Steps made at the end of each chunk.

    Example:
        >>> chunk_ends(9375)[:3], len(chunk_ends(9375)), chunk_ends(7), chunk_ends(10_007)[-3:]
        ((625, 1250, 1875), 15, (1, 2, 3, 4, 5, 6, 7), (9018, 9519, 10007))

    References:
        JAX documentation, ``jax.lax.scan`` (a scan compiles its body once, whatever its length).
        https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html
    """
    parts = max(parts for parts in range(1, _CHUNKS + 1) if n_steps % parts == 0)
    length = n_steps // parts if parts >= _FEWEST_CHUNKS else -(-n_steps // _CHUNKS)
    return (*range(length, n_steps, length), n_steps)

"""What a researcher declares: hyperparameters, the stages of the research loop as pure functions, a claim.

`Experiment` names the stages; `program` joins them into the pure functions of a run, to be compiled, swept, differentiated ...
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import optax

from jaxresearch import data, gradients, sampling, training
from jaxresearch.adjust import Adjust
from jaxresearch.data import DataCard, Dataset
from jaxresearch.gradients import Batch, GradientEstimator, LossFn, Metrics
from jaxresearch.metrics import Metric
from jaxresearch.models import Model
from jaxresearch.statistics import Claim
from jaxresearch.training import Step, TrainState

H = TypeVar("H")

# What the command line asks of every run, and of every study.
RUN_OPTIONS = frozenset(
    "seeds folds train_examples init_from data target directory smoke save_every on_nonfinite encrypt_with track rounds seconds "
    "fresh_seeds".split()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(Generic[H]):
    """A question and the stages that answer it: collect, preprocess, train (four functions), evaluate, and the claim.

    Each stage is a function, so that one can be exchanged without touching the others::

        collect      (source, *, target=None) -> Dataset                   the only one that reads files
        preprocess   (dataset) -> Dataset of arrays                        fitted on the training part alone
        model        (hyperparameters, card) -> Model                      card: the shapes and classes of the data
        loss_fn      (model, hyperparameters) -> loss_fn
        optimizer    (hyperparameters, n_steps) -> Optax transformation    may use swept values
        estimator    (loss_fn, hyperparameters) -> gradient estimator      plain unless given
        step         (estimator, optimizer) -> step                        `jaxresearch.training.step` unless given
        metrics      (card) -> metrics of the evaluation by name
        report       (hyperparameters, params, collected, dataset) -> text  what the fitted models (an axis of seeds) say
        adjust       (history) -> Proposal or None                         what a study tries next: `jaxresearch.adjust`

    Attributes:
        question: What is asked, in a sentence.
        claim: What is claimed, decided by the interval over seeds.
        hyperparameters: The plain settings, an instance of a class made by `hyperparameters`.
        source: Where the data comes from unless the user says otherwise; as for `jaxresearch.data.load`.
        target: The column to predict, where the source is a table.
        evaluation_batch: Examples of the test part that are seen at a time: fewer, where outputs are large.

    Raises:
        ValueError: If the hyperparameters lack a static ``batch_size`` or ``epochs``, or have a field that is called as
            one of the command line's own options.

    References:
        Platt (1964), Strong inference, Science 146. https://doi.org/10.1126/science.146.3642.347
    """

    question: str
    claim: Claim
    hyperparameters: H
    source: str
    model: Callable[[H, DataCard], Model]
    loss_fn: Callable[[Model, H], LossFn]
    optimizer: Callable[[H, int], optax.GradientTransformation]
    metrics: Callable[[DataCard], dict[str, Metric]]
    target: str | None = None
    collect: Callable[..., Dataset] = data.load
    preprocess: Callable[[Dataset], Dataset] = data.encode_dataset
    report: Callable[[H, Any, Dataset, Dataset], str] | None = None
    adjust: Adjust | None = None
    evaluation_batch: int = 1000
    estimator: Callable[[LossFn, H], GradientEstimator] = lambda loss_fn, _: gradients.plain(loss_fn)
    step: Callable[[GradientEstimator, optax.GradientTransformation], Step] = training.step

    def __post_init__(self) -> None:
        if not dataclasses.is_dataclass(self.hyperparameters):
            raise ValueError("hyperparameters must be an instance of a class under @hyperparameters. Decorate it.")
        is_static = {field.name: field.metadata.get("static") for field in dataclasses.fields(self.hyperparameters)}
        for name in ("batch_size", "epochs"):
            if not is_static.get(name):
                raise ValueError(f"hyperparameters must have a static field {name!r}. Write: {name}: int = static(...)")
        for name in is_static.keys() & RUN_OPTIONS:
            raise ValueError(f"hyperparameters must not be called as an option of every run; got {name!r}. Rename it.")


class Program(NamedTuple):
    """The pure functions of an experiment on data of one kind, ready for any JAX transform.

    ``init(key, hyperparameters, data) -> state``, ``advance(key, hyperparameters, state, data, n_steps) -> (state,
    history)``, ``run(key, hyperparameters, data) -> (state, history)`` and ``evaluate(hyperparameters, state, data) ->
    metrics``; ``run`` is ``init`` and ``advance`` by all steps.
    """

    init: Callable[[Any, Any, Batch], TrainState]
    advance: Callable[[Any, Any, TrainState, Batch, int], tuple[TrainState, Metrics]]
    run: Callable[[Any, Any, Batch], tuple[TrainState, Metrics]]
    evaluate: Callable[[Any, TrainState, Batch], Metrics]


def batch_size(hyperparameters: Any, n_examples: int) -> int:
    """Returns the number of examples a step: what ``batch_size`` says, or all of them where it is 0.

    Args:
        hyperparameters: Gives ``batch_size``; its field allows 0 by ``at_least=0``.
        n_examples: Length of the training data.

    Returns:
        Examples a step; whether they fit the data is for `n_steps` to check.

    Example:
        >>> @hyperparameters
        ... class Sizes:
        ...     batch_size: int = static(32, "examples a step; 0: all", at_least=0)
        >>> batch_size(Sizes(), 2930), batch_size(Sizes(batch_size=0), 2930)
        (32, 2930)

    References:
        Bottou, Curtis and Nocedal (2018), Optimization methods for large-scale machine learning, SIAM Review 60(2), section
        3 (stochastic and batch methods). https://arxiv.org/abs/1606.04838
    """
    return hyperparameters.batch_size or n_examples


def n_steps(hyperparameters: Any, n_examples: int) -> int:
    """Returns the number of steps of a whole run.

    Args:
        hyperparameters: Gives ``batch_size`` and ``epochs``.
        n_examples: Length of the training data.

    Returns:
        Epochs times whole batches in the data.

    Raises:
        ValueError: If the batch is larger than the data, or there is no epoch.

    Example:
        >>> @hyperparameters
        ... class Sizes:
        ...     batch_size: int = static(32, "examples a step")
        ...     epochs: int = static(5, "passes over the data")
        >>> n_steps(Sizes(), 60_000)
        9375

    References:
        Goodfellow, Bengio and Courville (2016), Deep Learning, section 8.1.3.
        https://www.deeplearningbook.org/contents/optimization.html
    """
    if hyperparameters.epochs < 1:
        raise ValueError(f"epochs must be 1 or more; got {hyperparameters.epochs}. Pass the passes over the data.")
    size = batch_size(hyperparameters, n_examples)
    return hyperparameters.epochs * sampling.steps_per_epoch(n_examples, batch_size=size)


def program(experiment: Experiment, card: DataCard) -> Program:
    """Returns the pure functions of an experiment for data of the kind that the card describes.

    Args:
        experiment: The stages.
        card: Describes the preprocessed data: its features and classes.

    Returns:
        Functions without side effects; compile, vmap or differentiate them as you need.

    Example:
        >>> import numpy as np
        >>> from jaxresearch import losses, metrics, models
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
        >>> line = program(experiment, DataCard(name="line", source="", feature_shape=(1,)))
        >>> state, history = line.run(jax.random.key(0), Line(), {"inputs": x, "targets": 2 * x})
        >>> bool(line.evaluate(Line(), state, {"inputs": x, "targets": 2 * x})["r2"] > 0.99)
        True

    References:
        Frostig, Johnson and Leary (2018), Compiling machine learning programs via high-level tracing, SysML.
        https://mlsys.org/Conferences/doc/2018/146.pdf
    """

    def parts(hyperparameters: Any, data: Batch) -> tuple[Model, optax.GradientTransformation]:
        total = n_steps(hyperparameters, data["targets"].shape[0])
        return experiment.model(hyperparameters, card), experiment.optimizer(hyperparameters, total)

    def init(key, hyperparameters, data):
        model, optimizer = parts(hyperparameters, data)
        return training.init(key, model=model, optimizer=optimizer)

    def advance(key, hyperparameters, state, data, n_steps):
        model, optimizer = parts(hyperparameters, data)
        estimator = experiment.estimator(experiment.loss_fn(model, hyperparameters), hyperparameters)
        step, size = experiment.step(estimator, optimizer), batch_size(hyperparameters, data["targets"].shape[0])
        return training.advance(key, state, data, step=step, batch_size=size, n_steps=n_steps)

    def run(key, hyperparameters, data):
        total = n_steps(hyperparameters, data["targets"].shape[0])
        return advance(key, hyperparameters, init(key, hyperparameters, data), data, total)

    def evaluate(hyperparameters, state, data):
        model = experiment.model(hyperparameters, card)
        size = experiment.evaluation_batch
        return training.evaluate(state, data, model=model, metrics=experiment.metrics(card), batch_size=size)

    return Program(init, advance, run, evaluate)

"""What a researcher declares: hyperparameters, the stages of the research loop as pure functions, a claim.

`Experiment` names the stages; `program` joins them into the pure functions of a run, to be compiled, swept, differentiated ...
"""

import dataclasses
import difflib
import importlib.util
import math
import operator
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
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
_PACKAGE = Path(__file__).parent

# What the command line asks of every run, and of every study.
RUN_OPTIONS = frozenset(
    "seeds folds train_examples init_from data target directory smoke save_every on_nonfinite encrypt_with track rounds seconds "
    "fresh_seeds".split()
)


def swept(
    default: int | float | tuple[int | float, ...],
    help: str,
    *,
    above: int | float | None = None,
    at_least: int | float | None = None,
    at_most: int | float | None = None,
    below: int | float | None = None,
) -> Any:
    """Returns a field of hyperparameters that is a leaf: a number that can be swept, vmapped and differentiated.

    Args:
        default: Its value in the plain experiment; a tuple has a leaf for each entry, and its length is static.
        help: What it means and its unit, in a few words; the command line shows them.
        above: The value has to be greater.
        at_least: The value has to be greater or equal.
        at_most: The value has to be less or equal.
        below: The value has to be less.

    Returns:
        A dataclass field.

    Example:
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(1e-3, "step size", above=0)
        >>> jax.tree.leaves(Rates(learning_rate=0.1))
        [0.1]

    References:
        JAX documentation, Pytrees, custom pytree nodes. https://docs.jax.dev/en/latest/custom_pytrees.html
    """
    bounds = {"above": above, "at least": at_least, "at most": at_most, "below": below}
    return dataclasses.field(default=default, metadata={"help": help, "bounds": bounds})


def static(default: Any, help: str, *, at_least: int | float | None = None, at_most: int | float | None = None) -> Any:
    """Returns a field of hyperparameters that is static: a size or a choice, each value of which is another program.

    Args:
        default: Its value in the plain experiment.
        help: What it means and its unit, in a few words; the command line shows them.
        at_least: The value (or each entry of a tuple) has to be greater or equal.
        at_most: The value (or each entry of a tuple) has to be less or equal.

    Returns:
        A dataclass field.

    Example:
        >>> @hyperparameters
        ... class Sizes:
        ...     batch_size: int = static(32, "examples a step", at_least=1)
        >>> jax.tree.leaves(Sizes())
        []

    References:
        JAX documentation, Just-in-time compilation, static arguments. https://docs.jax.dev/en/latest/jit-compilation.html
    """
    bounds = {"at least": at_least, "at most": at_most}
    return dataclasses.field(default=default, metadata={"help": help, "bounds": bounds, "static": True})


@typing.dataclass_transform(frozen_default=True, kw_only_default=True)
def hyperparameters(cls: type[H]) -> type[H]:
    """Returns the class as a frozen dataclass and a pytree, whose `swept` fields are leaves and `static` fields are not.

    Args:
        cls: A class with annotated fields. A run needs at least ``batch_size`` and ``epochs``, both static; a batch of 0,
            where the field allows it, is the whole data.

    Returns:
        The class itself, for use as a decorator.

    Example:
        >>> @hyperparameters
        ... class Plain:
        ...     learning_rate: float = swept(1e-3, "step size", above=0)
        ...     epochs: int = static(5, "passes over the data", at_least=1)
        >>> jax.jit(lambda h: h.learning_rate * h.epochs)(Plain(learning_rate=2.0)).item()
        10.0

    References:
        JAX documentation, ``jax.tree_util.register_dataclass``.
        https://docs.jax.dev/en/latest/_autosummary/jax.tree_util.register_dataclass.html
    """
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, kw_only=True)(cls))


def check(hyperparameters: Any) -> None:
    """Raises an error that names the field, the rule and the value, where a hyperparameter breaks its bounds.

    Args:
        hyperparameters: An instance of a class made by `hyperparameters`, of Python values.

    Raises:
        ValueError: If a number is not finite, or outside the bounds that its field declares.

    Example:
        >>> @hyperparameters
        ... class Sizes:
        ...     batch_size: int = static(32, "examples a step", at_least=1)
        >>> check(Sizes(batch_size=0))
        Traceback (most recent call last):
        ...
        ValueError: batch_size must be at least 1; got 0. It is: examples a step.

    References:
        Meyer (1992), Applying "design by contract", Computer 25(10). https://doi.org/10.1109/2.161279
    """
    holds = {"above": operator.gt, "at least": operator.ge, "at most": operator.le, "below": operator.lt}
    for field in dataclasses.fields(hyperparameters):
        value = getattr(hyperparameters, field.name)
        bounds = {rule: bound for rule, bound in field.metadata.get("bounds", {}).items() if bound is not None}
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{field.name} must be finite; got {value}. It is: {field.metadata['help']}.")
            for rule, bound in bounds.items():
                if not holds[rule](number, bound):
                    raise ValueError(
                        f"{field.name} must be {rule} {bound:g}; got {value}. It is: {field.metadata['help']}."
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


def load(name: str, *, directory: Path = Path("experiments")) -> Experiment:
    """Returns the experiment that a file declares as ``experiment``.

    Args:
        name: A path to a ``.py`` file, or the name of one in ``directory``.
        directory: Where names are looked up.

    Returns:
        The declared experiment.

    Raises:
        FileNotFoundError: If there is no such file; the message holds the nearest name.
        ValueError: If the file fails to run (the message holds its own line), or declares no `Experiment`.

    Example:
        >>> load("minst", directory=Path("nowhere"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: experiment must be a .py file or a name in nowhere; got 'minst'. There are none in nowhere.

    References:
        Python documentation, importlib. https://docs.python.org/3/library/importlib.html
    """
    path = file_of(name, directory=directory)
    if not path.is_file():
        rule = f"experiment must be a .py file or a name in {directory}"
        raise FileNotFoundError(f"{rule}; got {name!r}. {_nearest(name, directory)}")
    spec = importlib.util.spec_from_file_location(f"experiment {path.resolve()}", path)  # no other module's name
    assert spec is not None and spec.loader is not None  # a path that ends in .py always has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(blame(error, name, directory=directory) or f"experiment file {path}: {error}") from error
    if not isinstance(getattr(module, "experiment", None), Experiment):
        raise ValueError(f"experiment file {path} must assign an Experiment to the name 'experiment'; it does not.")
    return module.experiment


def blame(error: Exception, name: str, *, directory: Path = Path("experiments")) -> str | None:
    """Returns what went wrong at which line of an experiment's file, on one line; None if the file had no part in it.

    Args:
        error: What was raised, at loading or from one of the experiment's functions.
        name: The experiment, as for `load`.
        directory: Where names are looked up.

    Returns:
        A message. What this package refuses, or the file itself by a ``raise``, comes first: it tells what is the matter.

    Example:
        >>> blame(ValueError("elsewhere"), "mnist") is None
        True

    References:
        Python documentation, traceback. https://docs.python.org/3/library/traceback.html
    """
    path = file_of(name, directory=directory)
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
        return f"experiment file {path} failed at line {error.lineno}: {(error.text or '').strip()!r}: {error.msg}."
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    if not own:
        return None
    (last, line), what = (frames[-1], own[-1].line or ""), " ".join(str(error).split())
    is_ours = last is own[-1] or Path(last.filename).is_relative_to(_PACKAGE)
    if isinstance(error, ValueError) and what and is_ours and "raise " in (last.line or ""):
        return f"{what} (experiment file {path}, line {own[-1].lineno})"
    return f"experiment file {path} failed at line {own[-1].lineno}: {line!r}: {type(error).__name__}: {what}"


def file_of(name: str, *, directory: Path = Path("experiments")) -> Path:
    """Returns the file of an experiment, be it there or not.

    Args:
        name: A path to a ``.py`` file, or the name of one in ``directory``, which names no other folder.
        directory: Where names are looked up.

    Returns:
        The path.

    Example:
        >>> file_of("mnist").as_posix(), file_of("mine/first.py").as_posix(), file_of("../elsewhere/mnist").as_posix()
        ('experiments/mnist.py', 'mine/first.py', 'experiments/mnist.py')

    References:
        CWE-22, Improper limitation of a pathname to a restricted directory. https://cwe.mitre.org/data/definitions/22.html
    """
    return Path(name) if name.endswith(".py") else directory / f"{Path(name).name}.py"


def _nearest(name: str, directory: Path) -> str:
    """Returns advice on names that exist."""
    names = sorted(path.stem for path in directory.glob("*.py") if not path.stem.startswith("_"))
    near = difflib.get_close_matches(name, names, n=1)
    there_are = f"There are: {', '.join(names)}." if names else f"There are none in {directory}."
    return f"Did you mean {near[0]!r}?" if near else there_are

"""What a researcher declares: a question, hyperparameters, the algorithm that answers it, and optionally a claim.

`program` turns it into the pure functions of a run, ready to compile, sweep or differentiate.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from jaxresearch import data, gradients, partitioning, sampling, training
from jaxresearch.adjust import Adjust
from jaxresearch.data import DataCard, Dataset, Fitted, Preprocessor
from jaxresearch.gradients import Batch, Metrics
from jaxresearch.partitioning import Rule
from jaxresearch.signatures import require_arguments
from jaxresearch.statistics import Claim
from jaxresearch.training import Algorithm, EstimatorOf, Plan, State

H = TypeVar("H")
_COMPARING = ("maximise", "minimise")


class Objective(NamedTuple):
    """The metric of the selection data by which settings are compared, and whether higher is better."""

    metric: str
    higher: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(Generic[H]):
    """A question and the functions that answer it: collect, preprocess, algorithm, report, and optionally a claim.

    Each is a function, so you can replace one without touching the others::

        collect      (source, *, target=None, **reading) -> Dataset          the only one that reads files
        preprocess   Preprocessor(fit, apply, invert, describe)              fitted on the training part alone
        algorithm    (hyperparameters, card, plan, fitted) -> Algorithm      may use swept values
        report       (hyperparameters, state, collected, dataset) -> text    on the trained models (one axis of seeds)
        adjust       (history) -> Proposal or None                           what a study tries next: `jaxresearch.adjust`

    ``card`` describes the shapes and classes of the data, ``plan`` has the number of steps and the gradient estimator
    (``plan.estimator``), ``fitted`` holds the numbers that ``preprocess`` estimated on the training part. ``reading`` holds
    the user's options for reading and splitting data, as `jaxresearch.data.load` takes them.

    Attributes:
        question: One sentence.
        claim: The interval of its metric decides it. None to explore: metrics are reported, nothing is decided.
        maximise: Without a claim, the metric by which a sweep or a study compares settings, such as ``"accuracy"``, or a function
            of the card that returns its name; with a claim, they use its metric.
        minimise: As ``maximise``, if lower is better.
        hyperparameters: The default settings, an instance of a class decorated with `hyperparameters`, with static ``batch_size``
            and ``epochs``. ``n_steps`` may replace ``epochs``, and must do so if there is no data.
        algorithm: What is trained and how it is evaluated.
        source: The default data source, as for `jaxresearch.data.load`; None if the algorithm needs no data.
        target: The column to predict, if the source is a table.
        types: Kinds of columns, such as ``{"id": "drop", "sold": "date"}``, if the source is a table; those of other columns are
            inferred.
        task: Whether integer targets are classes (classification) or values (regression). By default this is inferred from the
            data and shown to the user.
        outputs: Names of what ``predict`` returns after the target's value, such as ``("low", "high")``, the limits of an
            interval; they are columns of `jaxresearch predict`.
        private: The guarantee that the claim is about, as parameters of ``--private``, such as
            ``{"epsilon": 3, "delta": 1e-5, "clip": 1}``; the command trains with it by default.
        rules: How a mesh splits arrays of the state, before the rules of `jaxresearch.partitioning`.
        at_once: Number of runs trained at a time on each device, at most; by default as many as fit into its memory.
        replan: ``(plan, n_train) -> plan``, applied to the plan of each run: how `jaxresearch.privacy` changes its sampling and
            its estimator.
        arrange: ``(part) -> part``, applied to the training part after preprocessing: how `jaxresearch.privacy` joins the
            examples of a unit.
        independent: Whether runs with different settings or data draw independently even if their seeds are equal. Private runs
            must; others share their draws, so that settings are compared on equal terms.

    Raises:
        ValueError: If the hyperparameters are no instance of a dataclass or lack a static field that a run needs; if more than
            one of ``claim``, ``maximise`` and ``minimise`` is given; if ``types`` is not a dict; if ``at_once`` is below 1; if a
            function has the wrong signature.
    """

    question: str
    hyperparameters: H
    algorithm: Callable[[H, DataCard, Plan, Any], Algorithm]
    claim: Claim | None = None
    maximise: str | Callable[[DataCard], str] | None = None
    minimise: str | Callable[[DataCard], str] | None = None
    source: str | None = None
    target: str | None = None
    types: Mapping[str, str] | None = None
    task: Literal["classification", "regression"] | None = None
    collect: Callable[..., Dataset] = data.load
    preprocess: Preprocessor = data.standard
    report: Callable[[H, State, Dataset, Dataset], str | None] | None = None
    adjust: Adjust | None = None
    outputs: tuple[str, ...] = ()
    private: Mapping[str, int | float] | None = None
    rules: tuple[Rule, ...] = ()
    at_once: int | None = None
    replan: Callable[[Plan, int], Plan] | None = None
    arrange: Callable[[Any], Any] | None = None
    independent: bool = False

    def __post_init__(self) -> None:
        if isinstance(cls := self.hyperparameters, type):
            raise ValueError(
                f"hyperparameters must be an instance, got the class {cls.__name__}. Write: hyperparameters={cls.__name__}()"
            )
        if not dataclasses.is_dataclass(self.hyperparameters):
            raise ValueError(
                "hyperparameters must be an instance of a class decorated with @hyperparameters, "
                f"got {type(self.hyperparameters).__name__}. Decorate the class."
            )
        static = {field.name for field in dataclasses.fields(self.hyperparameters) if field.metadata.get("static")}
        length = "n_steps" if "n_steps" in static else "epochs"
        for name in (length,) if self.source is None else ("batch_size", length):
            if name not in static:
                raise ValueError(f"hyperparameters must have a static field {name!r}. Write: {name}: int = static(...)")
        given = [name for name in ("claim", "maximise", "minimise") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"experiment must have at most one of claim, maximise and minimise, got {' and '.join(given)}. Leave all but "
                "one out: a claim names the metric by which settings are compared."
            )
        if self.types is not None and not isinstance(self.types, Mapping):
            raise ValueError(
                f"types must be a dict of columns and kinds, got {type(self.types).__name__}. Write: types={{'id': 'drop'}}"
            )
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once must be 1 run or more, got {self.at_once}. Leave it out to choose.")
        self._require_functions()

    @property
    def objective(self) -> Objective | None:
        """How a sweep or a study compares settings: by the claim's metric, else by ``maximise`` or ``minimise``.

        Raises:
            ValueError: If the metric depends on the data; `for_data` chooses it.
        """
        if self.claim is not None:
            return Objective(self.claim.evaluated, self.claim.at_least is not None)
        metric = self.minimise if self.maximise is None else self.maximise
        if callable(metric):
            raise ValueError(
                "maximise and minimise must name a metric before settings are compared, got a function of the data card. "
                "Write: experiment.for_data(dataset)"
            )
        return None if metric is None else Objective(metric, self.maximise is not None)

    def for_data(self, dataset: Dataset) -> "Experiment[H]":
        """Returns the experiment with the name of the metric by which settings are compared on these data."""
        chosen = {name: value(dataset.card) for name in _COMPARING if callable(value := getattr(self, name))}
        return dataclasses.replace(self, **chosen) if chosen else self

    def _require_functions(self) -> None:
        """Raises if a function has the wrong signature."""
        if not isinstance(self.preprocess, Preprocessor):
            raise ValueError(
                f"preprocess must be a Preprocessor, got {type(self.preprocess).__name__}. "
                "Write: preprocess=data.Preprocessor(fit, apply)"
            )
        require_arguments("algorithm", self.algorithm, "h", "card", "plan", "fitted")
        require_arguments("collect", self.collect, "source", keywords=("target",))
        require_arguments("fit", self.preprocess.fit, "train", "card")
        require_arguments("apply", self.preprocess.apply, "fitted", "part", keywords=("training",))
        require_arguments("invert", self.preprocess.invert, "fitted", "outputs")
        require_arguments("describe", self.preprocess.describe, "fitted", "card")
        if self.report is not None:
            require_arguments("report", self.report, "h", "state", "collected", "dataset")
        if self.adjust is not None:
            require_arguments("adjust", self.adjust, "history")
        for name in _COMPARING:
            if callable(metric := getattr(self, name)):
                require_arguments(name, metric, "card")

    def report_on(self, hyperparameters: H, state: State, collected: Dataset, dataset: Dataset) -> str | None:
        """Returns the experiment's report on its trained models, or None."""
        if self.report is None:
            return None
        text = self.report(hyperparameters, state, collected, dataset)
        if text is not None and not isinstance(text, str):
            raise ValueError(f"report must return a string or None, got {type(text).__name__}. Return an f-string.")
        return text

    def prepare(self, collected: Dataset) -> Dataset:
        """Returns collected data as the algorithm takes it: `jaxresearch.data.prepare`, with the training part arranged."""
        prepared = data.prepare(self.preprocess, collected)
        return prepared if self.arrange is None else prepared._replace(train=self.arrange(prepared.train))


def without_data(experiment: Experiment) -> Dataset:
    """Returns the dataset of an experiment whose algorithm needs no data.

    Args:
        experiment: Its question names the data card.

    Returns:
        Empty parts.

    Example:
        >>> from jaxresearch import loading
        >>> without_data(loading.load("mnist")).n_train
        0
    """
    return Dataset({}, {}, {}, DataCard(name="none", source=f"drawn by the algorithm: {experiment.question}"))


def plan(
    hyperparameters: Any,
    n_examples: int,
    *,
    evaluate_every: int | None = None,
    estimator: EstimatorOf = gradients.plain,
) -> Plan:
    """Returns the batch size and the number of steps of a run: the only place that counts steps.

    Args:
        hyperparameters: Have ``batch_size`` (0 for all examples) and ``epochs``, or ``n_steps`` instead.
        n_examples: Length of the training data; 0 without data.
        evaluate_every: Steps between evaluations on the validation data; 0 for once per epoch, None for never.
        estimator: Makes the gradient estimator from a loss_fn.

    Returns:
        A plan.

    Raises:
        ValueError: If a size is out of range for the data.

    Example:
        >>> from jaxresearch.hyperparameters import hyperparameters, static
        >>> @hyperparameters
        ... class Sizes:
        ...     batch_size: int = static(32, "examples per step")
        ...     epochs: int = static(5, "passes over the data")
        >>> plan(Sizes(), 60_000, evaluate_every=0)[:3]
        (32, 9375, 1875)
    """
    batch_size = getattr(hyperparameters, "batch_size", 0) or n_examples
    if not n_examples:
        batch_size = per_epoch = 0
    else:
        per_epoch = sampling.steps_per_epoch(n_examples, batch_size=batch_size)
    if not hasattr(hyperparameters, "n_steps"):
        if not n_examples:
            raise ValueError(
                "hyperparameters must have n_steps if there is no data to count epochs by. Write: n_steps: int = static(...)"
            )
        planned = training.plan_of(
            n_examples, batch_size=batch_size, epochs=hyperparameters.epochs, estimator=estimator
        )
    elif hyperparameters.n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more, got {hyperparameters.n_steps}. Pass n_steps=1000.")
    else:
        planned = Plan(batch_size, hyperparameters.n_steps, estimator=estimator)
    if evaluate_every is None:
        return planned
    if evaluate_every < 0:
        raise ValueError(f"evaluate_every must be 0 or more steps, got {evaluate_every}. Pass 0 for once per epoch.")
    return planned._replace(evaluate_every=min(evaluate_every or per_epoch or planned.n_steps, planned.n_steps))


class Program(NamedTuple):
    """The pure functions of an experiment on one dataset, ready for any JAX transformation.

    ==============  =====================================================================================
    ``plan``        ``(hyperparameters) -> Plan``
    ``algorithm``   ``(hyperparameters) -> Algorithm``
    ``init``        ``(key, hyperparameters) -> state``
    ``advance``     ``(key, hyperparameters, state, data, step, n_steps) -> (state, history)``
    ``look``        ``(key, hyperparameters, state, validation, step) -> (state, metrics)``
    ``run``         ``(key, hyperparameters, data, validation=None) -> (state, history)``: all of the above
    ``evaluate``    ``(key, hyperparameters, state, data) -> metrics`` of the state's outcome
    ==============  =====================================================================================
    """

    plan: Callable[[Any], Plan]
    algorithm: Callable[[Any], Algorithm]
    init: Callable[[Any, Any], State]
    advance: Callable[[Any, Any, State, Batch, Any, int], tuple[State, Metrics]]
    look: Callable[[Any, Any, State, Batch, Any], tuple[State, Metrics]]
    run: Callable[..., tuple[State, Metrics]]
    evaluate: Callable[[Any, Any, State, Batch], Metrics]


def program(
    experiment: Experiment,
    dataset: Dataset,
    *,
    evaluate_every: int | None = None,
    estimator: EstimatorOf = gradients.plain,
    fitted: Fitted | None = None,
) -> Program:
    """Returns the pure functions of an experiment on a dataset.

    Args:
        experiment: As declared.
        dataset: Preprocessed data; only its card and the length of its training part are used, not its arrays.
        evaluate_every: As for `plan`.
        estimator: As for `plan`.
        fitted: Numbers estimated on the training part; by default, the dataset's (its first fold's). Pass traced arrays to make
            them an argument of the compiled function.

    Returns:
        Functions without side effects; compile, vmap or differentiate them as you need.

    Raises:
        ValueError: By the returned functions, as `plan`.

    Example:
        >>> import jax, numpy as np
        >>> from jaxresearch import losses, metrics, models
        >>> from jaxresearch.hyperparameters import hyperparameters, static
        >>> @hyperparameters
        ... class Line:
        ...     batch_size: int = static(4, "examples per step")
        ...     epochs: int = static(30, "passes over the data")
        >>> def algorithm(h, card, plan, fitted):
        ...     return training.supervised(models.linear(card.n_features, 1), losses.half_squared_error,
        ...                                optimizer=training.gradient_descent(0.3), metrics={"r2": metrics.r2()})
        >>> claim = Claim(text="R2", metric="test/r2", about="these examples", at_least=0.9)
        >>> experiment = Experiment(question="A line?", claim=claim, hyperparameters=Line(), algorithm=algorithm)
        >>> x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
        >>> part = {"inputs": x, "targets": 2 * x}
        >>> line = program(experiment, Dataset(part, part, None, DataCard(name="line", source="", feature_shape=(1,))))
        >>> state, history = line.run(jax.random.key(0), Line(), part)
        >>> bool(line.evaluate(jax.random.key(0), Line(), state, part)["r2"] > 0.99)
        True
    """
    known = data.numbers(dataset.of_run(0).fitted) if fitted is None else fitted

    def plan_for(hyperparameters: Any) -> Plan:
        planned = plan(hyperparameters, dataset.n_train, evaluate_every=evaluate_every, estimator=estimator)
        return planned if experiment.replan is None else experiment.replan(planned, dataset.n_train)

    def algorithm(hyperparameters: Any) -> Algorithm:
        result = experiment.algorithm(hyperparameters, dataset.card, plan_for(hyperparameters), known)
        if not isinstance(result, Algorithm):
            raise ValueError(
                f"algorithm must return an Algorithm, got {type(result).__name__}. Return training.supervised(...)."
            )
        return partitioning.partitioned(result, rules=experiment.rules)

    def init(key, hyperparameters):
        return training.init(key, algorithm=algorithm(hyperparameters))

    def advance(key, hyperparameters, state, data, step, n_steps):
        batch_size = plan_for(hyperparameters).sampling
        return training.advance(
            key, state, data, step, algorithm=algorithm(hyperparameters), batch_size=batch_size, n_steps=n_steps
        )

    def look(key, hyperparameters, state, validation, step):
        return training.look(key, state, validation, step, algorithm=algorithm(hyperparameters))

    def run(key, hyperparameters, data, validation=None):
        return training.run(key, data, validation, algorithm=algorithm(hyperparameters), plan=plan_for(hyperparameters))

    def evaluate(key, hyperparameters, state, data):
        return training.evaluate(key, state, data, algorithm=algorithm(hyperparameters))

    return Program(plan_for, algorithm, init, advance, look, run, evaluate)

"""What ``explain`` explains: the models of a run with their data, and how an example is shown."""

import difflib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from jaxresearch import explain, losses, records, statistics
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.reopened import Reopened
from jaxresearch.data import Column, DataCard, Dataset
from jaxresearch.execution.reading import is_on_disk

OF_COLUMNS = ("permutation_importance", "shapley_values")
METHODS = (*explain.METHODS, *OF_COLUMNS)
INFLUENCES = ("exact", "tracin", "none")
BATCH = 500  # rows in a call of a model
MOST_ROWS = 2000  # of the test part, for the importance of columns
LETTERS = "ACGT"
_LONGEST_SIDE = 64  # pixels of an image that is recorded

Kind = Literal["images", "tokens", "letters", "columns"]


class Asked(NamedTuple):
    """What the command asks for; None for the default."""

    method: str | None = None
    examples: int = 8
    influence: str | None = None
    target: str | None = None
    layer: str | None = None
    baseline: Any = None
    seed: int = 0


class Subject(NamedTuple):
    """What is explained: the models that did not diverge, their data, and how inputs are shown.

    Attributes:
        opened: The run with its data.
        models: Its models.
        asked: By the command.
        kind: Of the inputs.
        places: Of the models that did not diverge.
        scale: What 8-bit inputs are multiplied by to be the floating-point inputs of the models; None for other inputs.
    """

    opened: Reopened
    models: records.Ensemble
    asked: Asked
    kind: Kind
    places: tuple[int, ...]
    scale: float | None = None

    @property
    def card(self) -> DataCard:
        """The card of the prepared data."""
        return self.opened.loaded.dataset.card

    @property
    def key(self) -> Any:
        """The random key of the command's seed."""
        return jax.random.key(self.asked.seed)

    def of_run(self, place: int) -> Dataset:
        """Returns the data of one model, without test examples of weight 0."""
        dataset = self.opened.loaded.dataset.of_run(place)
        if "weights" not in dataset.test:
            return dataset
        kept = self.kept(place)
        return dataset._replace(test={name: entry[kept] for name, entry in dataset.test.items()})

    def kept(self, place: int) -> np.ndarray:
        """Returns the indices of the test examples of one model whose weight is not 0."""
        test = self.opened.loaded.dataset.of_run(place).test
        return np.flatnonzero(np.asarray(test.get("weights", np.ones(len(test["targets"])))) > 0)

    def named(self, part: str, place: int) -> tuple[str, int]:
        """Returns a part and the index of an example in it, with the examples of weight 0, from its index without them."""
        return part, int(self.kept(self.places[0])[place]) if part == "test" else int(place)

    def floats(self, inputs: np.ndarray) -> np.ndarray:
        """Returns inputs of which models can be differentiated: pixels as floating-point numbers."""
        return inputs if self.scale is None else inputs.astype(np.float32) * np.float32(self.scale)

    def state(self, place: int) -> Any:
        """Returns the state of one model."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), self.models.state)

    def predict(self, place: int, state: Any = None) -> Callable[[Any], Any]:
        """Returns the function from prepared inputs to the outputs of one model, or of another state of it."""
        predict = self.models.algorithm(place).predict
        assert predict is not None  # required at the start
        return functools.partial(predict, self.state(place) if state is None else state)

    def rows(self, place: int, name: str, most: int) -> np.ndarray:
        """Returns inputs or targets of test examples of one model, drawn if there are more than ``most``."""
        entry = np.asarray(self.of_run(place).test[name])
        chosen = np.sort(np.random.default_rng(self.asked.seed).permutation(len(entry))[:most])
        return self.floats(entry[chosen]) if name == "inputs" else entry[chosen]

    def over_models(self, work: Callable[..., Any], *arguments: Callable[[int], Any]) -> list[Any]:
        """Returns ``work(predict, ...)`` for each model, compiled once unless each has its own data.

        Args:
            work: Takes ``predict`` and arrays.
            *arguments: Each returns one of these arrays for the place of a model.
        """
        results, compiled = [], None
        for place in self.places:
            if compiled is None or self.models.dataset.n_runs:
                compiled = jax.jit(lambda state, *arrays, place=place: work(self.predict(place, state), *arrays))
            results.append(jax.device_get(compiled(self.state(place), *(of(place) for of in arguments))))
        return results

    def summary(self, values: Any) -> dict[str, Any]:
        """Returns numbers of each model with their mean and 95 % interval."""
        dataset = self.opened.loaded.dataset
        if dataset.n_folds:
            return statistics.summary(values, runs="folds")
        if dataset.is_resplit:
            ratio = sum(dataset.sizes("test")) / sum(dataset.sizes("train"))
            return statistics.summary(values, runs="splits", ratio=ratio)
        return statistics.summary(values)


def subject_of(opened: Reopened, models: records.Ensemble, asked: Asked) -> Subject:
    """Returns what is explained.

    Args:
        opened: The run with its data.
        models: Its models.
        asked: By the command.

    Raises:
        UsageError: If it cannot be explained, or something was asked for that it does not have.
    """
    models.require_predict()
    dataset = opened.loaded.dataset
    if not dataset.test:
        raise UsageError("explain needs a run with data, got one without. Its algorithm draws its own.")
    if any(is_on_disk(part) for part in dataset.parts().values()):
        raise UsageError("explain needs data in memory, got rows on disk. Run it without --stream.")
    places = tuple(place for place, seed in enumerate(models.seeds) if seed not in models.diverged)
    if not places:
        raise UsageError(
            "explain needs a seed that did not diverge, got none. Train it again with a smaller learning rate."
        )
    first = dataset.of_run(places[0])
    kind = kind_of(first.test.get("inputs"), dataset.card)
    subject = Subject(opened, models, asked, kind, places)
    _require_outputs(subject, first)
    if asked.target is not None:
        class_of(asked.target, dataset.card)
    if asked.method is not None and (asked.method in OF_COLUMNS) != (kind == "columns"):
        known = OF_COLUMNS if kind == "columns" else explain.METHODS
        raise UsageError(f"method must be one of {', '.join(known)} for {kind}, got {asked.method!r}. Leave it out.")
    return subject._replace(scale=_scale(subject, first)) if first.test["inputs"].dtype == np.uint8 else subject


def kind_of(inputs: Any, card: DataCard) -> Kind:
    """Returns how inputs are shown.

    Args:
        inputs: Prepared examples.
        card: Of the data.

    Raises:
        UsageError: If they are nothing that a page can show.
    """
    shape = [*getattr(inputs, "shape", ())]
    if isinstance(inputs, np.ndarray):
        if inputs.dtype.kind in "iu" and inputs.ndim == 2 and (card.vocabulary or inputs.dtype != np.uint8):
            return "tokens"
        if inputs.dtype.kind == "f" and inputs.ndim == 3 and shape[-1] == len(LETTERS) and _is_one_hot(inputs[:100]):
            return "letters"
        if inputs.ndim == 4 and shape[-1] in (1, 3) or (inputs.ndim == 3 and inputs.dtype.kind in "fu"):
            return "images"
        if inputs.dtype.kind == "f" and inputs.ndim == 2:
            return "columns"
    what = f"inputs {inputs.dtype} {inputs.shape}" if shape else f"a dict of {', '.join(inputs)} for each example"
    raise UsageError(f"explain shows images, tokens, one-hot DNA and tables, got {what}. Use jaxresearch.explain.")


def _is_one_hot(inputs: np.ndarray) -> bool:
    """Returns whether each position has one letter, or none."""
    return bool(((inputs == 0) | (inputs == 1)).all() and (inputs.sum(axis=-1) <= 1).all())


def _require_outputs(subject: Subject, dataset: Dataset) -> None:
    """Raises unless a model predicts one class or one value for each example."""
    n = subject.card.n_classes if subject.card.class_names else 1
    shape = jax.eval_shape(subject.predict(subject.places[0]), dataset.test["inputs"][:2]).shape
    if shape[1:] != (n,) or np.ndim(dataset.test["targets"]) > 1 + (not subject.card.class_names):
        raise UsageError(
            f"explain needs a model that predicts one class or value for each example, got outputs {('n', *shape[1:])}. Use "
            "jaxresearch.explain with a target of your own."
        )


def class_of(name: str, card: DataCard) -> int:
    """Returns the index of a class.

    Args:
        name: Of the class.
        card: Of the data.

    Raises:
        UsageError: If there is no such class.
    """
    if not card.class_names:
        raise UsageError(f"--target must be left out where values are predicted, got {name}. There are no classes.")
    if name not in card.class_names:
        near = difflib.get_close_matches(name, card.class_names, n=1)
        known = ", ".join(card.class_names[:10]) + ", ..." * (len(card.class_names) > 10)
        advice = f"Did you mean {near[0]!r}?" if near else "Pass one of them."
        raise UsageError(f"--target must be a class of the data ({known}), got {name!r}. {advice}")
    return card.class_names.index(name)


def _scale(subject: Subject, dataset: Dataset) -> float:
    """Returns the factor of pixels with which the model predicts the same as from 8-bit pixels."""
    inputs, predict = dataset.test["inputs"][:8], jax.jit(subject.predict(subject.places[0]))
    for scale in (1 / 255, 1.0):
        if np.allclose(predict(inputs), predict(inputs.astype(np.float32) * np.float32(scale)), rtol=1e-3, atol=1e-3):
            return scale
    raise UsageError(
        "explain needs a model of pixels from 0 to 1, got one that reads 8-bit pixels otherwise. Scale them in preprocess."
    )


def losses_of(card: DataCard) -> Callable[[Any, Any], Any]:
    """Returns the loss of each example: the log loss of classes, the squared error of values."""
    if card.class_names:
        return losses.softmax_cross_entropy_with_integer_labels
    return lambda outputs, targets: losses.squared_error(outputs[:, 0], targets.reshape(-1))


def described(subject: Subject, outputs: np.ndarray, place: int) -> dict[str, Any]:
    """Returns a test example as a page shows it: what it is, and what is predicted.

    Args:
        subject: What is explained.
        outputs: Of the first model.
        place: Index of the example.
    """
    dataset, card = subject.of_run(subject.places[0]), subject.card
    one = named(subject, "test", place) | {"shown": shown(subject, dataset.test["inputs"][place])}
    target = dataset.test["targets"][place]
    if card.class_names:
        of_classes = softmax(outputs[place].astype(np.float64))
        predicted = int(of_classes.argmax())
        return one | {
            "predicted": card.class_names[predicted],
            "probability": float(of_classes[predicted]),
            "true": card.class_names[int(target)],
        }
    invert = functools.partial(subject.opened.experiment.preprocess.invert, dataset.fitted)
    values = [
        float(np.ravel(invert(np.asarray(value, np.float64).reshape(1, -1)))[0]) for value in (outputs[place], target)
    ]
    return one | {"predicted": values[0], "true": values[1]}


def named(subject: Subject, part: str, place: int) -> dict[str, Any]:
    """Returns the index and the name of an example: the row of the user's data, where it is known.

    Args:
        subject: What is explained.
        part: Such as ``"test"``.
        place: Index of the example.
    """
    return {"example": int(place), "name": subject.opened.name(*subject.named(part, place), run=subject.places[0])}


def shown(subject: Subject, inputs: np.ndarray) -> Any:
    """Returns an example as a page shows it: pixels from 0 to 255, letters, or tokens; None for a row of a table.

    Args:
        subject: What is explained.
        inputs: One prepared example.
    """
    if subject.kind == "images":
        low, high = float(inputs.min()), float(inputs.max())
        pixels = inputs if inputs.dtype == np.uint8 else 255 * (inputs - low) / ((high - low) or 1)
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 and pixels.ndim == 3 else pixels
        return np.round(smaller(pixels)).astype(int)
    if subject.kind == "letters":
        return [
            LETTERS[letter] if total else "N" for letter, total in zip(inputs.argmax(-1), inputs.sum(-1), strict=True)
        ]
    return token_names(inputs, subject.card.vocabulary) if subject.kind == "tokens" else None


def token_names(tokens: np.ndarray, vocabulary: Sequence[str]) -> list[str]:
    """Returns the names of tokens; without a vocabulary, the position of each, counted from 1, and its number.

    Args:
        tokens: ``(length,)``.
        vocabulary: One name per token, or nothing.

    Example:
        >>> token_names(np.array([1, 0]), ("zinc", "ion")), token_names(np.array([7, 0]), ())
        (['ion', 'zinc'], ['1:7', '2:0'])
    """
    if vocabulary:
        return [str(vocabulary[token]) for token in tokens]
    return [f"{position}:{token}" for position, token in enumerate(tokens, start=1)]


def smaller(image: np.ndarray) -> np.ndarray:
    """Returns an image with at most 64 pixels along each side, the means of square blocks, so that records stay small.

    Args:
        image: ``(height, width, ...)``.

    Example:
        >>> smaller(np.ones((28, 28))).shape, smaller(np.ones((128, 200, 3))).shape
        ((28, 28), (32, 50, 3))
    """
    size = -(-max(image.shape[:2]) // _LONGEST_SIDE)
    height, width = (length // size for length in image.shape[:2])
    if size == 1:
        return image
    return image[: height * size, : width * size].reshape(height, size, width, size, *image.shape[2:]).mean(axis=(1, 3))


def column_groups(subject: Subject) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the groups of features that belong to a column, and the columns' names.

    Args:
        subject: What is explained.
    """
    collected, card, dataset = subject.opened.collected, subject.card, subject.of_run(subject.places[0])
    n_features = dataset.test["inputs"].shape[1]
    cells = collected.test["inputs"]
    if not isinstance(cells, dict):
        names = card.feature_names if len(card.feature_names) == n_features else tuple(map(str, range(n_features)))
        return explain.columns(*[1] * n_features), names
    apply, fitted = subject.opened.experiment.preprocess.apply, dataset.fitted
    used = {column.name: cells[column.name][:MOST_ROWS] for column in card.columns if column.name in cells}
    groups, names = explain.column_features(
        lambda some: apply(fitted, {"inputs": some}, training=False)["inputs"], used
    )
    return groups, names


def cells_of(subject: Subject, columns: Sequence[str]) -> Callable[[str, int], list[tuple[str, str]]]:
    """Returns the function from a part (``"train"`` or ``"test"``) and an index to the cells of a row, by their columns, as text.

    Args:
        subject: What is explained.
        columns: The columns to show; none, unless the inputs are those of a table.
    """
    if not columns:
        return lambda part, place: []
    first, n_runs = subject.places[0], subject.opened.loaded.dataset.n_runs
    collected, prepared = subject.opened.collected.parts(), subject.of_run(first).parts()
    is_shared = first == 0 or not n_runs  # by this model and the collected data
    known = {column.name: column for column in subject.opened.collected.card.columns}
    named = functools.cache(lambda: column_groups(subject)[1])  # only rows that are not those collected need it

    def cells(part: str, place: int) -> list[tuple[str, str]]:
        found, features = subject.opened.row(*subject.named(part, place), run=first), prepared[part]["inputs"][place]
        rows, row = found or (collected[part], place)
        is_known = found is not None or (is_shared and len(rows["targets"]) == len(prepared[part]["targets"]))
        if isinstance(rows["inputs"], dict) and is_known:
            return [(name, _cell(known[name], rows["inputs"][name][row])) for name in columns]
        names = named()
        return [(name, f"{features[names.index(name)]:.4g}") for name in columns] if len(names) == len(features) else []

    return cells


def _cell(column: Column, cell: Any) -> str:
    """Returns a cell as text."""
    if column.kind == "category":
        return column.levels[int(cell)] if cell >= 0 else "missing"
    if isinstance(cell, str):
        return cell
    if np.isnan(cell):
        return "missing"
    return date_text(float(cell)) if column.kind == "date" else f"{cell:.6g}"


def date_text(days: float) -> str:
    """Returns a date in ISO form, with the time of day unless it is midnight.

    Args:
        days: Since 1970, as `jaxresearch.data` reads dates.

    Example:
        >>> date_text(19723.0), date_text(19723.5), date_text(-0.25)
        ('2024-01-01', '2024-01-01T12:00:00', '1969-12-31T18:00:00')
    """
    seconds = round(days * 86_400)
    return str(np.datetime64(seconds, "s")) if seconds % 86_400 else str(np.datetime64(seconds // 86_400, "D"))


def short(values: np.ndarray) -> list[Any]:
    """Returns numbers with four significant digits, as nested lists.

    Args:
        values: Of any shape.
    """
    rounded = np.array([float(f"{value:.4g}") for value in np.ravel(values)])
    return rounded.reshape(np.shape(values)).tolist()

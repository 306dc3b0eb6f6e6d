"""The explanations of a run, as its record ``explain.json`` holds them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from jaxresearch import explain
from jaxresearch.cli import display
from jaxresearch.cli.dependence import attacked, importances
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.subject import (
    BATCH,
    Asked,
    Subject,
    class_of,
    described,
    short,
    smaller,
)
from jaxresearch.cli.traced import influenced
from jaxresearch.explain import named
from jaxresearch.explain.streaming import in_batches

_MOST_CELLS = 6  # of a row of a table


def explained(subject: Subject, logits: np.ndarray | None) -> dict[str, Any]:
    """Returns the content of ``explain.json``: a section for each question, or the sentence why it has no answer.

    Args:
        subject: What is explained.
        logits: What each model predicts for its test part, where examples have classes; else None.

    Raises:
        ValueError: If something was asked for that the run does not have.
    """
    models, working = subject.models, display.working
    outputs = _outputs(subject) if logits is None else logits[subject.places[0]][subject.kept(subject.places[0])]
    chosen = chosen_examples(outputs, _targets(subject), subject)
    with working("importance of columns"):
        importance = importances(subject)
    with working("attributions"):
        attributions = attributed(subject, outputs, chosen)
    with working("training examples behind mistakes"):
        mistakes = chosen.places[: chosen.n_mistakes]
        influence = influenced(subject, outputs, mistakes, columns=_foremost(importance))
    with working("attacks"):
        robustness = attacked(subject)
    return {
        "kind": subject.kind,
        "seeds": [models.seeds[place] for place in subject.places],
        "shown_seed": models.seeds[subject.places[0]],
        "asked": _recorded(subject.asked),
        "attributions": attributions,
        "importance": importance,
        "influence": influence,
        "robustness": robustness,
    }


def _foremost(importance: dict[str, Any]) -> list[str]:
    """Returns the columns that matter most, which stand for a row of a table; none of other inputs."""
    if "columns" not in importance:
        return []
    order = np.argsort(-np.array(importance["mean"], np.float64), kind="stable")[:_MOST_CELLS]
    return [importance["columns"][place] for place in order]


def _recorded(asked: Asked) -> dict[str, Any]:
    """Returns what was asked for, in JSON's types."""
    shape = None if not isinstance(asked.baseline, np.ndarray) else f"an array {asked.baseline.shape}"
    return {**asked._asdict(), "baseline": shape or asked.baseline}


def _outputs(subject: Subject) -> np.ndarray:
    """Returns the outputs of the first model for its test part."""
    first = subject._replace(places=subject.places[:1])
    inputs = subject.of_run(first.places[0]).test["inputs"]
    return first.over_models(
        lambda predict, inputs: in_batches(predict, inputs, batch_size=BATCH), lambda place: inputs
    )[0]


def _targets(subject: Subject) -> np.ndarray:
    """Returns the targets of the first model's test part."""
    return np.asarray(subject.of_run(subject.places[0]).test["targets"])


class Chosen(NamedTuple):
    """Test examples that are shown: their indices, and how many of them, from the first, are mistakes."""

    places: np.ndarray
    n_mistakes: int


def chosen_examples(outputs: np.ndarray, targets: np.ndarray, subject: Subject) -> Chosen:
    """Returns test examples to show: half of them the gravest mistakes, the others drawn.

    Args:
        outputs: Of the first model.
        targets: Of its test part.
        subject: What is explained.
    """
    n, random = min(subject.asked.examples, len(targets)), np.random.default_rng(subject.asked.seed)
    if subject.card.class_names:
        wrong = np.flatnonzero(outputs.argmax(axis=1) != targets)
        gravest = wrong[np.argsort(-softmax(outputs[wrong].astype(np.float64), axis=1).max(axis=1), kind="stable")]
    else:
        gravest = np.argsort(-_squared_errors(outputs, targets), kind="stable")
    mistakes = gravest[: (n + 1) // 2]
    rest = np.setdiff1d(np.arange(len(targets)), gravest if subject.card.class_names else mistakes)
    others = np.sort(random.permutation(rest)[: n - len(mistakes)])
    return Chosen(np.concatenate([mistakes, others]).astype(int), len(mistakes))


def _squared_errors(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the squared error of each example."""
    return ((outputs - targets.reshape(outputs.shape)) ** 2).sum(axis=1)


def attributed(subject: Subject, outputs: np.ndarray, chosen: Chosen) -> dict[str, Any]:
    """Returns the attributions of the chosen test examples, by the first model.

    Args:
        subject: What is explained.
        outputs: Of the first model.
        chosen: The test examples.
    """
    if subject.kind == "columns":
        _require_no_map(subject.asked)
        return {"why": "The rows of a table have no map; the importance of each column is below."}
    asked, dataset = subject.asked, subject.of_run(subject.places[0])
    inputs = subject.floats(dataset.test["inputs"][chosen.places])
    is_grey = subject.kind == "images" and inputs.ndim == 3
    inputs = inputs[..., None] if is_grey else inputs
    method, layer, baseline = _method(subject, inputs), asked.layer, _baseline(subject, inputs)
    if method not in ("occlusion", "grad_cam") and subject.kind == "tokens":
        layer = layer or "embedded"
    classes = outputs[chosen.places].argmax(axis=1) if subject.card.class_names else None
    if asked.target is not None:
        classes = np.full(len(inputs), class_of(asked.target, subject.card))

    found = _by_method(subject, inputs, classes, method, layer, baseline, is_grey=is_grey)
    found = [smaller(values) for values in found] if subject.kind == "images" else found
    examples = [
        described(subject, outputs, place) | {"values": short(values), "is_mistake": number < chosen.n_mistakes}
        for number, (place, values) in enumerate(zip(chosen.places, found, strict=True))
    ]
    if subject.kind == "tokens" and subject.card.vocabulary and not np.ndim(baseline):
        baseline = subject.card.vocabulary[baseline]
    baseline = f"an array {baseline.shape}" if np.ndim(baseline) else baseline
    explained_class = asked.target or ("the predicted class" if subject.card.class_names else "the predicted value")
    return {"method": method, "layer": layer, "baseline": baseline, "target": explained_class, "examples": examples}


def _require_no_map(asked: Asked) -> None:
    """Raises for options of maps, which tables have none of."""
    for name, value in (("layer", asked.layer), ("baseline", asked.baseline), ("target", asked.target)):
        if value is not None:
            raise UsageError(
                f"--{name} must be left out for a table, got {value}. It belongs to images, tokens and DNA."
            )


def _by_method(
    subject: Subject, inputs: Any, classes: Any, method: str, layer: str | None, baseline: Any, *, is_grey: bool
) -> np.ndarray:
    """Returns one attribution for each place of the inputs, by the first model; grey images have gained a channel."""

    def work(predict: Any, inputs: Any) -> Any:
        return explain.attributions(
            subject.key,
            (lambda inputs: predict(inputs[..., 0])) if is_grey else predict,
            inputs,
            method=method,
            target=classes,
            baseline=baseline,
            layer=layer,
            batch_size=BATCH,
        )

    return subject._replace(places=subject.places[:1]).over_models(work, lambda place: inputs)[0]


def _method(subject: Subject, inputs: np.ndarray) -> str:
    """Returns the method that is asked for; by default, integrated gradients where they can be computed."""
    if subject.asked.method is not None:
        return subject.asked.method
    if subject.kind != "tokens" or subject.asked.layer is not None:
        return "integrated_gradients"
    predict = subject.predict(subject.places[0])
    try:
        before, _ = named.halves(predict, inputs[:1], layer="embedded", needed_by="tokens")
        return "integrated_gradients" if jax.eval_shape(before, inputs[:1]).ndim == 3 else "occlusion"
    except ValueError:  # another model, or an ensemble of them
        return "occlusion"


def _baseline(subject: Subject, inputs: np.ndarray) -> Any:
    """Returns an input without information: zeros, an equal mixture of letters, or the token that stands for nothing."""
    given, card = subject.asked.baseline, subject.card
    if given is None:
        return {"letters": 0.25, "tokens": max(len(card.vocabulary) - 1, 0)}.get(subject.kind, 0.0)
    if isinstance(given, str):
        if given not in card.vocabulary:
            what = "a number, a token of the vocabulary" if card.vocabulary else "a number"
            raise UsageError(f"--baseline must be {what} or a .npy file, got {given!r}. Write: --baseline 0")
        return card.vocabulary.index(given)
    if isinstance(given, np.ndarray):
        array = jnp.asarray(subject.floats(given) if given.dtype == np.uint8 else given, inputs.dtype)
        is_grey = subject.kind == "images" and inputs.shape[-1] == 1
        return array[..., None] if is_grey and array.shape in (inputs.shape[1:-1], inputs.shape[:-1]) else array
    n_tokens = len(card.vocabulary)
    if subject.kind == "tokens" and not (given.is_integer() and 0 <= given < (n_tokens or np.inf)):
        known = f"from 0 to {n_tokens - 1}" if n_tokens else "of 0 or more"
        raise UsageError(f"--baseline must be a token {known}, got {given:g}. Pass {'its name' if n_tokens else '0'}.")
    return int(given) if subject.kind == "tokens" else given

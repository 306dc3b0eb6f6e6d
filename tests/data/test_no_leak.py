"""`fit` never sees a validation or test example, or one of another fold, for any options, with tables and texts."""

import dataclasses

import numpy as np
import pytest

from jaxresearch import adjust, data, losses, metrics, models, studies, training
from jaxresearch.cli.loaded import load_data
from jaxresearch.cli.parsing import parse
from jaxresearch.data import Preprocessor
from jaxresearch.experiment import Experiment
from jaxresearch.fields import text
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

N_ROWS = 240


@hyperparameters
class Sizes:
    learning_rate: float = swept(0.1, "step size", above=0)
    batch_size: int = static(8, "examples per step")
    epochs: int = static(1, "passes")


def algorithm(h, card, plan, fitted):
    return training.supervised(
        models.linear(card.n_features, card.n_classes),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(h.learning_rate),
        metrics={"accuracy": metrics.accuracy()},
        estimator=plan.estimator,
    )


def bag(column):
    """Returns counts of the words of the training part: a vocabulary leaks as easily as a mean."""

    def fit(train, card):
        return {"words": np.array(text.fit_vocabulary(map(text.words, train["inputs"][column])).tokens)}

    def apply(fitted, part, *, training):
        vocabulary = text.Vocabulary(tuple(fitted["words"].tolist()))
        return {**part, "inputs": text.bag_of_words(vocabulary, [*map(text.words, part["inputs"][column])])}

    return Preprocessor(fit, apply)


PREPROCESSORS = {"table": data.standard, "text": bag("note")}


@pytest.fixture(params=PREPROCESSORS)
def watched(request, tmp_path):
    """Returns an experiment on numbered rows, and the arguments of each call of its preprocessor."""
    plain, calls = PREPROCESSORS[request.param], []

    def numbers(part):
        return {*np.asarray(part["inputs"]["row"]).astype(int).tolist()}

    def fit(train, card):
        calls.append({"fit": numbers(train), "training": set(), "held out": set()})
        return plain.fit(_without(train), _schema(card))

    def apply(fitted, part, *, training):
        calls[-1]["training" if training else "held out"] |= numbers(part)
        return plain.apply(fitted, _without(part), training=training)

    def describe(fitted, card):
        return plain.describe(fitted, _schema(card))

    path = tmp_path / "rows.csv"
    rows = [f"{i},{i % 7},word{i} common,{i // 8},{i // 3},{'ab'[i % 2]}" for i in range(N_ROWS)]
    path.write_text("row,x,note,patient,at,kind\n" + "\n".join(rows) + "\n")
    experiment = Experiment(
        question="Which kind?",
        claim=Claim(text="any", metric="test/accuracy", about="these examples", at_least=0.1),
        hyperparameters=Sizes(),
        source=str(path),
        target="kind",
        preprocess=Preprocessor(fit, apply, plain.invert, describe),
        algorithm=algorithm,
        adjust=adjust.grid(learning_rate=[0.2]),
    )
    return experiment, calls


def _without(part):
    columns = {name: values for name, values in part["inputs"].items() if name != "row"}
    return {**part, "inputs": columns}


def _schema(card):
    columns = tuple(column for column in card.columns if column.name not in ("row", "note"))
    return dataclasses.replace(card, columns=columns)


RULES = {
    "by class": [],
    "another seed": ["--test-fraction", "0.3", "--split-seed", "5"],
    "by group": ["--group", "patient"],
    "by time": ["--time", "at"],
    "by stretch": ["--contiguous"],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("validation", [[], ["--validation", "0.2"]], ids=["", "looks"])
@pytest.mark.parametrize(
    "command", ["run", "folds", "few", "resplit", "sweep", pytest.param("study", marks=pytest.mark.long)]
)
def test_fit_sees_training_examples_alone(watched, command, validation, rule):
    experiment, calls = watched
    more = {"folds": ["--folds", "3"], "few": ["--train-examples", "60"], "sweep": ["--learning-rate", "0.1,0.2"]}
    more |= {"resplit": ["--resplit"]}
    if command == "resplit" and rule not in ("by class", "by group"):
        pytest.skip("no seed draws another test part")
    name = "run" if command in ("folds", "few", "resplit") else command
    options = parse(experiment, [*RULES[rule], *validation, *more.get(command, [])], command=name)
    if command == "folds" and rule == "by time":
        with pytest.raises(
            ValueError,
            match="must not be folded, since it is split by time: all folds but the last would train on later",
        ):
            load_data(experiment, options, None)
        return
    loaded = load_data(experiment, options, None, to_choose=name != "run")
    if command == "study":
        looks = studies.Looks(0.2) if validation else None
        studies.study(experiment, loaded.collected, budget=studies.Budget(rounds=2, fresh_seeds=(3, 4)), looks=looks)
    # A study fits for its rounds and its conclusion, and again to confirm its choice unless that is the plain settings.
    assert len(calls) in {"folds": (3,), "study": (2, 3, 4), "few": (5,), "resplit": (5,)}.get(command, (1,))
    if command in ("few", "resplit"):
        assert len({tuple(sorted(call["fit"])) for call in calls}) == 5  # one split per seed
    for call in calls:
        assert call["fit"] == call["training"] and call["fit"]
        assert not call["fit"] & call["held out"] and call["held out"]
    if rule == "by group":
        for call in calls:
            assert not {i // 8 for i in call["fit"]} & {i // 8 for i in call["held out"]}
    if rule in ("by stretch", "by time") and command != "folds":
        assert max(calls[0]["fit"]) < min(calls[0]["held out"])

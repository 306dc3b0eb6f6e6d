"""The single entry point for all sources of data: reads, splits and checks them."""

import dataclasses
import difflib
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import catalogue
from jaxresearch.data.bundled import (
    ames,
    credit,
    gene_ontology,
    image_segmentation,
    math_exam,
    mnist,
    pupils,
    rotterdam,
    splice,
    wdbc,
)
from jaxresearch.data.censored import censored
from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import DataCard, Dataset, Split, check
from jaxresearch.data.files.databases import is_database, load_database, require_no_password
from jaxresearch.data.files.idx import load_idx_folder
from jaxresearch.data.files.images import is_image_folder, load_images
from jaxresearch.data.files.npz import load_npz
from jaxresearch.data.files.queries import require_ordered
from jaxresearch.data.files.streamed import load_streamed_tfds
from jaxresearch.data.files.tables import TABLES, is_table, load_table
from jaxresearch.data.files.targets import Task
from jaxresearch.data.files.tfds import load_tfds
from jaxresearch.data.molecules import aqsoldb, b3db
from jaxresearch.data.numbering import with_numbers
from jaxresearch.data.overlap import require_disjoint
from jaxresearch.data.parts import Part
from jaxresearch.data.splits import split as split_part
from jaxresearch.data.splits import take


def _mnist() -> Collected:
    """Returns MNIST in the form of the other bundled sets."""
    dataset = mnist()
    return Collected({"train": dataset.train, "test": dataset.test}, dataset.card)


_BUNDLED: dict[str, Callable[..., Collected]] = {
    "ames": ames,
    "aqsoldb": aqsoldb,
    "b3db": b3db,
    "credit": credit,
    "gene_ontology": gene_ontology,
    "image_segmentation": image_segmentation,
    "math_exam": math_exam,
    "mnist": _mnist,
    "pupils": pupils,
    "rotterdam": rotterdam,
    "splice": splice,
    "wdbc": wdbc,
}
BUNDLED = tuple(_BUNDLED)


def load(
    source: str,
    *,
    target: str | None = None,
    types: Mapping[str, str] | None = None,
    task: Task | None = None,
    split: Split | None = None,
    test: str | None = None,
    event: str | None = None,
    image_size: int | None = None,
    cipher: Any = None,
    stream: bool = False,
    query: str | None = None,
    parameters: Mapping[str, str] | None = None,
    derive: Callable[[Collected], Collected] | None = None,
    needs_target: bool = True,
) -> Dataset:
    """Returns the data of a source, split and checked. The card records how it was read.

    ======================  =============================================================================
    source                  content
    ======================  =============================================================================
    ``mnist``, ``ames``     bundled with the package, verified by SHA-256
    ``credit``              bundled: applicants for credit, a table
    ``math_exam``           bundled: answers of students in an exam, a table
    ``pupils``              bundled: yearly scores of pupils, a table
    ``wdbc``                bundled: cell nuclei of breast masses, a table
    ``rotterdam``           bundled: patients with breast cancer, their times to recurrence or death
    ``splice``              bundled: windows of DNA, ``{"sequence": ...}``
    ``gene_ontology``       bundled: biomedical English, ``{"id": ..., "term": ..., "definition": ...}``
    ``b3db``, ``aqsoldb``   bundled: molecules as SMILES, their permeability or solubility
    ``image_segmentation``  bundled: features of patches of outdoor images, a table
    ``tfds:NAME``           a set of TensorFlow Datasets, prepared before or (with the extra ``tfds``) now
    a path to ``.npz``      arrays in MedMNIST's layout, or x_train, y_train, x_test, y_test, or x and y
    a path to a table       ``.csv`` or ``.tsv``; with the extra ``tables``, ``.xlsx`` or ``.parquet``;
                            compressed (``.gz``, ``.xz``) or not; ``target`` names the column to predict
    ``sqlite:PATH``         the rows of a ``query`` to an SQLite file; with the extra ``sql``
    the URL of a database   the rows of a ``query``, such as ``postgresql://USER@HOST/DATABASE``; with the extra ``sql``
    a folder                the four IDX files of MNIST's layout, gzipped or not; or folders of images by class
    ======================  =============================================================================

    Args:
        source: A source from the table.
        target: The column to predict, if the source is a table or a database.
        types: Kinds of columns of a table or a query: number, category, date, text, id, or drop to leave one out. A column of
            groups or times is read all the same, for the split.
        task: Whether integer targets are classes (classification) or values (regression). By default it depends on how many
            differ, and is noted on the card.
        split: The rule for holding out a test part, if the source has none. The default fraction is that of the source: a
            fifth, or a tenth for ``gene_ontology``. A column of groups or times is not an input.
        test: A second table with the same columns, used as the test part.
        event: The column of a table that says whether the time in ``target`` ended in an event (1), or in a last visit
            without one (0). Targets are then both, ``(n, 2)``.
        image_size: Height and width to which a folder of images is resized.
        cipher: Encrypts the cache of a set of TensorFlow Datasets, as `jaxresearch.records.encryption.Cipher`; None for no
            encryption.
        stream: Whether examples stay on disk until a step needs them.
        query: A single SELECT, if the source is a database; it can only read.
        parameters: The values of its parameters, by name.
        derive: ``(collected) -> collected``, applied before the data are split: it may check rows, and add columns to split by.
        needs_target: Whether a table or a database must have a ``target``. If preprocessing makes the targets, such as the next
            tokens of a text, it may have none; targets are then zeros, ``(n, 1)``, until it does. With ``event``, it must.

    Returns:
        The parts and the card.

    Raises:
        ValueError: If the source is unknown (with the nearest name), damaged, ambiguous, or holds data that cannot be trained
            on; if an option does not apply to it.
        OSError: If it is missing or cannot be read.

    Example:
        >>> dataset = load("mnist")
        >>> dataset.card.n_classes, dataset.train["inputs"].shape, dataset.test["targets"].shape
        (10, (60000, 28, 28, 1), (10000,))
    """
    require_no_password(source)
    kind = _kind(source)
    options = {"target": target, "types": types, "test": test, "image_size": image_size, "stream": stream}
    options |= {"query": query, "parameters": parameters}
    options["event"] = event
    _require_applicable(source, kind, {name: value for name, value in options.items() if value})
    types = _without_dropped(types, split)
    task = "regression" if event else task
    reading = {"target": target, "types": types, "task": task, "test": test, "image_size": image_size}
    reading |= {"cipher": cipher, "stream": stream, "query": query, "parameters": parameters}
    reading["needs_target"] = needs_target or event is not None  # times have no substitute
    if query and split is not None and split.by == "stretch":
        require_ordered(query)
    collected = _read(source, kind, reading)
    collected = censored(collected, event) if event else collected
    _require_task(collected.card, task)
    collected = collected if kind in _UNORDERED else with_numbers(collected)
    collected = derive(collected) if derive else collected
    dataset = divide(collected, split)
    check(dataset)
    if kind == "bundled":
        return dataset
    return require_disjoint(dataset, is_drawn=dataset.card.split.fraction is not None)


_UNORDERED = ("images", "tfds")  # kinds of sources in which the number of an example means nothing to the user
_OPTIONS = {
    "bundled": (),
    "tfds": ("target", "types", "stream"),
    "npz": ("stream",),
    "table": ("target", "types", "test", "event"),
    "database": ("target", "types", "query", "parameters"),
    "images": ("image_size",),
    "idx": (),
}
_NEEDS = {
    "target": f"a table ({TABLES}; or tfds:NAME) or a database",
    "types": f"a table ({TABLES}; or tfds:NAME) or a database",
    "test": f"a table ({TABLES})",
    "event": f"a table ({TABLES})",
    "image_size": "a folder of images",
    "stream": "an .npz file or tfds:NAME",
    **dict.fromkeys(("query", "parameters"), "a database (sqlite:PATH or a URL)"),
}


def _require_applicable(source: str, kind: str, options: Mapping[str, Any]) -> None:
    """Raises for an option that does not apply to the source."""
    allowed = (*_OPTIONS[kind], *(("types",) if source == "ames" else ()))
    for name, value in options.items():
        if name not in allowed:
            raise ValueError(_misplaced(name, value, source))


def _without_dropped(types: Mapping[str, str] | None, split: Split | None) -> Mapping[str, str] | None:
    """Returns the kinds of columns without that of a dropped column of groups or times, which is read for the split alone."""
    if types is None or split is None:
        return types
    return {name: kind for name, kind in types.items() if (name, kind) != (split.column, "drop")}


def _misplaced(name: str, value: Any, source: str) -> str:
    """Returns the message for an option that does not apply to the source."""
    shown = "" if value is True else f"{value!r} for "
    return f"{name} must come with {_NEEDS[name]}, got {shown}{source}. Leave it out."


def _require_task(card: DataCard, task: Task | None) -> None:
    """Raises if the targets do not match the task."""
    if task == "regression" and card.class_names:
        raise ValueError(
            f"targets of {card.name} must be numbers for regression, got classes. Choose another experiment, or leave --task out."
        )
    if task == "classification" and not card.class_names:
        raise ValueError(
            f"targets of {card.name} must be classes for classification, got values. Choose another experiment, or leave "
            "--task out."
        )


def _kind(source: str) -> str:
    """Returns the kind of a source, by its name and by the files at that path."""
    if source in _BUNDLED:
        return "bundled"
    if source.startswith("tfds:"):
        return "tfds"
    if is_database(source):
        return "database"
    path = Path(source)
    if path.is_dir():
        return "images" if is_image_folder(path) else "idx"
    if not path.is_file():
        near = difflib.get_close_matches(source, _BUNDLED, n=1)
        meant = near[0] if near else catalogue.nearest_path(path)
        advice = f"Did you mean {meant!r}?" if meant else f"The bundled names are {', '.join(_BUNDLED)}."
        place = "" if near else _looked_for(path)
        raise FileNotFoundError(
            f"data must be a bundled name, tfds:NAME, a database or a path that exists, got {source!r}{place}. {advice}"
        )
    if path.suffix.lower() == ".npz":
        return "npz"
    if is_table(source):
        return "table"
    raise ValueError(
        f"data must be .npz, a table ({TABLES}), or a folder of images or IDX files, got {source}. Convert it first."
    )


def _looked_for(path: Path) -> str:
    """Returns the folder from which a relative path was followed, for a message; nothing for other paths."""
    return "" if path.is_absolute() else f", looked for from the current folder {Path.cwd()}"


def _read(source: str, kind: str, reading: Mapping[str, Any]) -> Collected:
    """Returns the parts of a source, before splitting."""
    path = Path(source)
    if kind == "bundled":
        return ames(types=reading["types"]) if source == "ames" else _BUNDLED[source]()
    if kind == "tfds" and reading["stream"]:
        if reading["target"] or reading["types"]:
            raise ValueError(f"target and types must be left out with stream, got {source}. Leave out --stream.")
        return load_streamed_tfds(source.removeprefix("tfds:"))
    if kind == "tfds":
        chosen = {name: reading[name] for name in ("target", "types", "task", "cipher")}
        return load_tfds(source.removeprefix("tfds:"), **chosen)
    if kind == "database":
        chosen = {name: reading[name] for name in ("query", "parameters", "target", "types", "task", "needs_target")}
        return load_database(source, **chosen)
    if kind == "npz":
        return load_npz(path, task=reading["task"], stream=reading["stream"])
    if kind == "images":
        return load_images(path, image_size=reading["image_size"])
    if kind == "idx":
        return load_idx_folder(path)
    test = reading["test"] and Path(reading["test"])
    if test is not None and not test.is_file():
        advice = catalogue.path_advice(test)
        raise FileNotFoundError(
            f"test must be the path of a table that exists, got {str(test)!r}{_looked_for(test)}. {advice}"
        )
    if test is not None and not is_table(str(test)):
        raise ValueError(f"test must be a table ({TABLES}), got {test}. Convert it first.")
    return load_table(path, test=test, **{name: reading[name] for name in ("target", "types", "task", "needs_target")})


def divide(collected: Collected, rule: Split | None) -> Dataset:
    """Returns the parts of a source, holding out a test part by a rule if the source has none.

    Args:
        collected: As read.
        rule: The user's rule; its default fraction is that of the source.

    Returns:
        Parts, and a card with the applied rule. For a rule by group or time, ``groups`` replaces that input column with the
        ranks of its distinct values; by time, examples are sorted.

    Raises:
        ValueError: If the source has a test part and the rule has a fraction or a seed, or the column of the rule is missing.

    Example:
        >>> part = {"inputs": np.zeros((10, 1)), "targets": np.arange(10) % 2}
        >>> data = divide(Collected({"train": part}, DataCard(name="mine", source="memory", split=Split())), Split(by="stretch"))
        >>> data.test["targets"].tolist(), data.card.split.by
        ([0, 1], 'stretch')
    """
    parts, card = collected
    rule = rule or card.split
    if "test" in parts and (rule.fraction is not None or rule.seed):
        raise ValueError(
            f"{card.name} has a test part of its own, got {'a fraction' if rule.fraction is not None else 'a seed'} of a split. "
            "Leave --test-fraction and --split-seed out."
        )
    if rule.by in ("group", "time"):
        parts, card = _grouped(parts, card, rule)
    if "test" in parts:
        card = dataclasses.replace(card, split=dataclasses.replace(rule, fraction=None))
        return Dataset(parts["train"], parts["test"], parts.get("validation"), card)
    fraction = card.split.fraction if rule.fraction is None else rule.fraction
    rule = dataclasses.replace(rule, fraction=0.2 if fraction is None else fraction)
    train, test = split_part(parts["train"], fraction=rule.fraction or 0.2, seed=rule.seed, by=rule.by, gap=card.gap)
    return Dataset(train, test, parts.get("validation"), dataclasses.replace(card, split=rule))


def _grouped(parts: dict[str, Part], card: DataCard, rule: Split) -> tuple[dict[str, Part], DataCard]:
    """Returns the parts with ``groups`` in place of the column of groups or times."""
    name = rule.column or ""
    column = next((one for one in card.columns if one.name == name), None)
    if column is None:
        near = difflib.get_close_matches(name, [one.name for one in card.columns], n=1)
        advice = f"Did you mean {near[0]!r}?" if near else "Name one of its columns."
        what = "data that is not a table" if not card.columns else f"{name!r}"
        if card.target is not None and name == card.target.name:
            what, advice = f"the target {name!r}", "Name another column."
        raise ValueError(f"{rule.by} must be a column of {card.name} besides the target, got {what}. {advice}")
    if rule.by == "time" and column.kind not in ("number", "date"):
        raise ValueError(
            f"time must be a column of dates or numbers, got {name}, a column of kind {column.kind}. Name another."
        )
    if len(card.columns) == 1:
        raise ValueError(f"{card.name} must hold a column besides {name!r} and the target, got none. Add features.")
    values = {part: held["inputs"][name] for part, held in parts.items()}
    for part, of_part in values.items():
        _require_known(of_part, name, part)
    distinct = np.unique(np.concatenate(list(values.values())))
    grouped = {part: _with_groups(held, name, distinct, is_time=rule.by == "time") for part, held in parts.items()}
    columns = tuple(one for one in card.columns if one.name != name)
    names = tuple(one.name for one in columns)
    notes = (*card.notes, *_overlap(grouped, name, rule))
    return grouped, dataclasses.replace(
        card, columns=columns, feature_names=names, feature_shape=(len(names),), notes=notes
    )


def _require_known(values: np.ndarray, name: str, part: str) -> None:
    """Raises if a group or time is missing."""
    missing = (
        values == "" if values.dtype.kind in "UT" else values < 0 if values.dtype.kind == "i" else np.isnan(values)
    )
    if missing.any():
        raise ValueError(
            f"column {name} must have a value in every row to split by it, got none in row {int(np.argmax(missing)) + 1} of the "
            f"{part} part ({int(missing.sum()):,} in all). Fill it in or drop the row."
        )


def _with_groups(part: Part, name: str, distinct: np.ndarray, *, is_time: bool) -> Part:
    """Returns a part with the group number of each example; sorted, if groups are times."""
    groups = np.searchsorted(distinct, part["inputs"][name]).astype(np.int32)
    inputs = {column: values for column, values in part["inputs"].items() if column != name}
    grouped = {**part, "inputs": inputs, "groups": groups}
    return take(grouped, np.argsort(groups, kind="stable")) if is_time else grouped


def _overlap(parts: Mapping[str, Part], name: str, rule: Split) -> list[str]:
    """Returns notes on parts with times before the end of the training part; raises for groups in two parts."""
    notes = []
    for one, other in itertools.combinations(parts, 2):
        shared = np.intersect1d(parts[one]["groups"], parts[other]["groups"])
        if rule.by == "group" and shared.size:
            raise ValueError(
                f"groups of {name} must be in one part, got {len(shared):,} in both the {one} part and the {other} part. Move "
                "their examples to one of them."
            )
    for part, held in parts.items():
        if part == "train":
            continue
        if rule.by == "time" and held["groups"].min() < parts["train"]["groups"].max():
            notes.append(f"the {part} part has earlier times of {name} than the last of the train part")
    return notes

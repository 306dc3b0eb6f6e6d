"""The examples of a TensorFlow Datasets set as arrays: images unchanged, tables by column."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxresearch.data.parts import Part

Leaf = tuple[str, ...]  # the keys of a value in the nested dict of an example
Allocate = Callable[[str, tuple[int, ...], Any], np.ndarray]
_PARTS = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "validation": "validation",
}  # ours by the names of sets


class Roles(NamedTuple):
    """The features of an example to use as inputs and as the target.

    Attributes:
        array: The inputs, if they are one array.
        columns: The inputs by name, if they are a table.
        label: The target.
    """

    array: Leaf
    columns: dict[str, Leaf]
    label: Leaf


def roles_of(info: Any, *, target: str | None, name: str) -> Roles:
    """Returns the roles of the features of a set.

    Args:
        info: Of the set's builder.
        target: The feature to predict; by default the one that the set declares.
        name: Of the set, for errors.

    Returns:
        Roles: those that the set declares, or all features besides the target.

    Raises:
        ValueError: If the set declares none and no target is given, or a feature is neither a number nor a word.

    Example:
        >>> from types import SimpleNamespace
        >>> roles_of(SimpleNamespace(supervised_keys=None, features={}), target=None, name="coco")
        Traceback (most recent call last):
        ...
        ValueError: tfds:coco must name inputs and labels, got none. Pass --target with one of its features: .
    """
    leaves = _leaves(info.features)
    if target is not None:
        label = next((leaf for leaf in leaves if target in (leaf[-1], "/".join(leaf))), None)
        if label is None:
            named = ", ".join(map("/".join, leaves))
            raise ValueError(f"target must be a feature of tfds:{name}, got {target!r}. Its features are: {named}.")
        others = [leaf for leaf in leaves if leaf != label]
        chosen: Any = others[0] if len(others) == 1 else {_named(leaf, others): leaf for leaf in others}
    else:
        if not info.supervised_keys:
            named = ", ".join(map("/".join, leaves))
            raise ValueError(
                f"tfds:{name} must name inputs and labels, got none. Pass --target with one of its features: {named}."
            )
        chosen, key = info.supervised_keys[:2]
        label = (key,)
        chosen = _declared(chosen, info.features)
    if isinstance(chosen, tuple) and not _is_word(_feature(info.features, chosen)):
        return Roles(chosen, {}, label)
    columns = {chosen[-1]: chosen} if isinstance(chosen, tuple) else chosen
    for column, leaf in columns.items():
        if _feature(info.features, leaf).shape:
            raise ValueError(
                f"column {column} of tfds:{name} must hold one number or word in each row, got {_feature(info.features, leaf)}. "
                "Choose another data set, or save it as .npz."
            )
    return Roles((), columns, label)


def _declared(chosen: Any, features: Any) -> Any:
    """Returns the leaf of an array, or the leaves of a table by name."""
    if isinstance(chosen, str):
        inner = features[chosen]
        return {name: (chosen, name) for name in inner} if hasattr(inner, "keys") else (chosen,)
    if isinstance(chosen, Mapping):
        return {name: (key,) for name, key in chosen.items()}
    return {key: (key,) for key in chosen}


def _named(leaf: Leaf, leaves: list[Leaf]) -> str:
    """Returns the last key of a leaf, or all keys if other leaves end in the same one."""
    return leaf[-1] if sum(other[-1] == leaf[-1] for other in leaves) == 1 else "/".join(leaf)


def _leaves(features: Any, above: Leaf = ()) -> list[Leaf]:
    """Returns the paths of all values of an example."""
    found: list[Leaf] = []
    for name in features:
        inner = features[name]
        found.extend(_leaves(inner, (*above, name)) if hasattr(inner, "keys") else [(*above, name)])
    return found


def _feature(features: Any, leaf: Leaf) -> Any:
    """Returns the declared feature of a value."""
    for key in leaf:
        features = features[key]
    return features


def _is_word(feature: Any) -> bool:
    """Returns whether a value is a word."""
    return not feature.shape and np.dtype(feature.np_dtype) == object


def names_of(info: Any, leaf: Leaf) -> tuple[str, ...]:
    """Returns the declared names of a label or category; none for a number.

    Args:
        info: Of the set's builder.
        leaf: The path of the value.

    Returns:
        Names.

    Example:
        >>> from types import SimpleNamespace
        >>> names_of(SimpleNamespace(features={"y": SimpleNamespace(names=["a", "b"])}), ("y",))
        ('a', 'b')
    """
    return tuple(getattr(_feature(info.features, leaf), "names", None) or ())


def parts_of(splits: list[str], *, name: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Returns the parts of a set by the names used here.

    Args:
        splits: The names of its parts.
        name: Of the set, for errors.

    Returns:
        The set's names by ours, and notes on parts that are left out. A single part becomes the training part, and ``val``
        the validation part.

    Raises:
        ValueError: If several parts are none of train, test and validation.

    Example:
        >>> parts_of(["train", "extra"], name="svhn")
        ({'train': 'train'}, ('the part extra is left out',))
        >>> parts_of(["train", "val", "test"], name="pneumonia_mnist")[0]
        {'train': 'train', 'test': 'test', 'validation': 'val'}
    """
    if len(splits) == 1:
        return {"train": splits[0]}, ()
    if "train" not in splits:
        raise ValueError(
            f"tfds:{name} must have a part named train, or only one part, got {', '.join(splits) or 'none'}. "
            "Choose another data set."
        )
    named = {part: split for split, part in _PARTS.items() if split in splits}
    return named, tuple(f"the part {split} is left out" for split in splits if split not in named.values())


def decode(source: Any, roles: Roles, *, name: str, allocate: Allocate) -> Part:
    """Returns the examples of a part as arrays, decoding one at a time.

    Args:
        source: Examples from ``as_data_source``.
        roles: The features to use.
        name: Of the set, for errors.
        allocate: Creates the array for a name, shape and type, in memory or on disk.

    Returns:
        Inputs (an array, or a dict of columns) and targets, unchanged.

    Raises:
        ValueError: If the inputs differ in shape.

    Example:
        >>> roles = Roles((), {"x": ("x",)}, ("y",))
        >>> part = decode([{"x": 1.5, "y": 0}], roles, name="a", allocate=lambda name, *of: np.empty(*of))
        >>> part["inputs"]["x"].tolist(), part["targets"].tolist()
        ([1.5], [0])
    """
    places = {**{f"inputs.{column}": leaf for column, leaf in roles.columns.items()}, "targets": roles.label}
    if roles.array:
        places["inputs"] = roles.array
    held: dict[str, Any] = {}
    for row in range(len(source)):
        example = source[row]
        for key, leaf in places.items():
            value = _value(example, leaf)
            if key not in held:
                is_word = isinstance(value, str)
                held[key] = [""] * len(source) if is_word else allocate(key, (len(source), *value.shape), value.dtype)
            elif not isinstance(value, str) and held[key].shape[1:] != value.shape:
                raise ValueError(
                    f"tfds:{name} must hold {key} of one shape, got {held[key].shape[1:]} and {value.shape}. "
                    "Choose another data set."
                )
            held[key][row] = value
    made = {key: np.array(values) if isinstance(values, list) else values for key, values in held.items()}
    columns = {column: made[f"inputs.{column}"] for column in roles.columns}
    return {"inputs": columns or made["inputs"], "targets": made["targets"]}


def _value(example: Any, leaf: Leaf) -> Any:
    """Returns a word, or an array of numbers."""
    for key in leaf:
        example = example[key]
    value = np.asarray(example)
    if value.dtype.kind in "OSU" and not value.shape:
        word = value.item()
        return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
    return value

"""How often a test part was read: the runs in one folder whose results are about the same examples."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxresearch.records.files import digest_of_json, json_types, read_json
from jaxresearch.records.run_directory import command_of


def digest_of_test_part(card: Mapping[str, Any], *, n_folds: int = 0, is_resplit: bool = False) -> str | None:
    """Returns the SHA-256 that identifies a test part: the source files, the target and the rule of the split.

    It reads no example. Folds, and splits drawn anew for each seed, test on all examples, whatever their number and seeds.

    Args:
        card: A `jaxresearch.data.DataCard`, as in ``config.json``.
        n_folds: Number of folds, 0 for none.
        is_resplit: Whether each seed divides the data anew.

    Returns:
        64 hexadecimal digits; None if no example is held out.

    Example:
        >>> card = {"name": "a", "source": "a.csv", "sha256": [["a.csv", "12"]], "split": {"fraction": 0.2, "seed": 0}}
        >>> renamed, other = {**card, "name": "b"}, {**card, "split": {"fraction": 0.3, "seed": 0}}
        >>> digest_of_test_part(card) == digest_of_test_part(renamed) != digest_of_test_part(other)
        True
    """
    if card.get("in_sample") and not n_folds:
        return None
    split, target = card.get("split") or {}, card.get("target") or {}
    held_out: Any = "its own" if split.get("fraction") is None else split
    if n_folds or is_resplit:
        held_out = "all examples in turn" if n_folds else "drawn for each seed"
    files = sorted(digest for _, digest in card.get("sha256") or ())
    data = files or [card["name"], card["source"]]
    return digest_of_json(json_types({"data": data, "target": target.get("name"), "test": held_out}))


def recorded_test_part(result: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Returns the digest of the test part of a result.

    Args:
        result: As in ``result.json``.
        config: As in ``config.json``; older results do not have the digest, so it is computed from this.

    Returns:
        As `digest_of_test_part`; None also for a smoke run, which tests on a few examples, and if unknown.

    Example:
        >>> recorded_test_part({"test_part": "12"}, {}), recorded_test_part({"test_part": "12", "smoke": True}, {})
        ('12', None)
    """
    if result.get("smoke"):
        return None
    if "test_part" in result:
        return result["test_part"]
    if command_of(dict(config)) != "run" or not config.get("parts", {"train": 1}).get("train"):
        return None  # the card of a study describes its selection data
    return digest_of_test_part(config["data_card"], n_folds=result.get("n_folds", 0))


def readers(folders: Iterable[Path], part: str) -> set[Path]:
    """Returns the run directories in some folders whose results are about a test part.

    It reads only the ``result.json`` of a run, and skips directories that are unreadable, damaged or not runs.

    Args:
        folders: Parents of run directories.
        part: As of `digest_of_test_part`.

    Returns:
        Absolute paths.

    Example:
        >>> readers([Path("nowhere")], "12")
        set()
    """
    distinct = {folder.resolve() for folder in folders}
    return {path.resolve() for folder in distinct for path in _directories(folder) if _reads(path, part)}


def _directories(folder: Path) -> list[Path]:
    """Returns the entries of a folder; none if it cannot be listed."""
    try:
        return [*folder.iterdir()]
    except OSError:
        return []


def _reads(path: Path, part: str) -> bool:
    """Returns whether a directory holds a run that has read a test part."""
    try:
        if not (path / "result.json").is_file():
            return False
        result = read_json(path / "result.json")
        config = {} if "test_part" in result else read_json(path / "config.json")
        return recorded_test_part(result, config) == part
    except Exception:  # the directory may hold anything
        return False

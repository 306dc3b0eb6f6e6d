"""An experiment from the file that declares it, and which line of that file an error comes from."""

import dataclasses
import difflib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from jaxresearch.experiment import Experiment

_PACKAGE = Path(__file__).parent
_NEED_A_VALUE = (  # what JAX raises where Python asks a traced array for its value
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def load(name: str, *, directory: Path = Path("experiments")) -> Experiment:
    """Returns the experiment that a file declares as ``experiment``.

    Args:
        name: A path to a ``.py`` file, or the name of one in ``directory``.
        directory: Where names are looked up.

    Returns:
        The declared experiment.

    Raises:
        FileNotFoundError: If there is no such file; the message holds the nearest name.
        ValueError: If the file fails to run (the message holds its own line), ends the process, or declares no `Experiment`.

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
    folder, known = path.resolve().parent, set(sys.modules)
    sys.path.insert(0, str(folder))  # modules beside the file can be imported
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise ValueError(
            f"experiment file {path} must only declare an experiment, got a call of sys.exit. Put it below "
            "if __name__ == '__main__':."
        ) from error
    except Exception as error:
        raise ValueError(blame(error, name, directory=directory) or f"experiment file {path}: {error}") from error
    finally:
        sys.path.remove(str(folder))
        _forget(sys.modules.keys() - known, folder)
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
        A message. What this package refuses, or the file itself by a ``raise``, comes first, since it names the remedy. Where
        Python needs the value of a traced array, the swept hyperparameters on that line are named, and what to do.

    Example:
        >>> blame(ValueError("elsewhere"), "mnist") is None
        True

    References:
        Python documentation, traceback. https://docs.python.org/3/library/traceback.html
    """
    path = file_of(name, directory=directory)
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
        return f"experiment file {path} failed at line {error.lineno}: {(error.text or '').strip()!r}: {error.msg}."
    frames, walked = traceback.extract_tb(error.__traceback__), traceback.walk_tb(error.__traceback__)
    own = [
        (summary, frame)
        for summary, (frame, _) in zip(frames, walked, strict=True)
        if Path(summary.filename).resolve() == path.resolve()
    ]
    what, needs_value = " ".join(str(error).split()), isinstance(error, _NEED_A_VALUE) or "Tracer(" in str(error)
    if not own:
        return f"experiment file {path}: {_remedy_of_traced(what, [])}" if needs_value else None
    place, frame = own[-1]
    last, line = frames[-1], place.line or ""
    at = f"experiment file {path} failed at line {place.lineno}: {line!r}"
    if needs_value:
        return f"{at}: {_remedy_of_traced(what, _swept_on(line, frame))}"
    is_ours = last is place or Path(last.filename).is_relative_to(_PACKAGE)
    if isinstance(error, ValueError | OSError) and what and is_ours and "raise " in (last.line or ""):
        return f"{what} (experiment file {path}, line {place.lineno})"
    return f"{at}: {type(error).__name__}: {what}"


def _remedy_of_traced(what: str, on_line: list[str]) -> str:
    """Returns what to do where Python needs the value of a traced array: JAX names the arguments that it depends on."""
    fields = list(dict.fromkeys(re.findall(r"hyperparameters\.(\w+)", what))) or on_line
    if not fields:
        return (
            "an array has no value yet while JAX traces the run, so it can be neither a size nor the condition of an if. "
            "Compute with jnp.where, or take a size from a shape."
        )
    names, are = " and ".join(fields), "are" if len(fields) > 1 else "is"
    declared = " and ".join(f"{field} = static(...)" for field in fields)
    return (
        f"{names} {are} swept and traced, so a size, an if or NumPy cannot use the value. Declare {declared}, or compute with "
        "jax.numpy (jnp.where for an if)."
    )


def _swept_on(line: str, frame: FrameType) -> list[str]:
    """Returns the swept hyperparameters that a line reads."""
    read, swept = re.findall(r"\.(\w+)", line), []
    for value in frame.f_locals.values():
        swept += [field.name for field in _fields(value) if not field.metadata.get("static")]
    return [name for name in dict.fromkeys(read) if name in swept]


def _fields(value: Any) -> tuple[dataclasses.Field, ...]:
    """Returns the fields of hyperparameters; nothing of another value."""
    is_instance = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return tuple(field for field in dataclasses.fields(value) if "bounds" in field.metadata) if is_instance else ()


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


def _forget(names: set[str], folder: Path) -> None:
    """Drops modules that lie in a folder: another one may have modules of the same names, and these may change."""
    for name in names:
        place = folder.joinpath(*name.split("."))
        file = getattr(sys.modules[name], "__file__", None)
        is_beside = file is not None and Path(file).resolve() in (place.with_suffix(".py"), place / "__init__.py")
        if is_beside and name.split(".")[0] != _PACKAGE.name:
            del sys.modules[name]

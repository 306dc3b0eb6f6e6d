"""Load an experiment from its file, and trace an error back to the line of that file."""

import dataclasses
import difflib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NamedTuple

import jax

from jaxresearch import catalogue
from jaxresearch.experiment import Experiment

_PACKAGE = Path(__file__).parent
_SOURCES = "__sources__"  # attribute of a module: the files it was loaded from
_NEED_A_VALUE = (  # raised by JAX if Python needs the value of a traced array
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


class Loaded(NamedTuple):
    """An experiment and the files it was loaded from: its own first, then those beside it that it imports or loads.

    ``sources`` maps paths, relative to the folder of the first file, to contents.
    """

    experiment: Experiment
    sources: dict[str, bytes]


def load(name: str, *, directory: Path = catalogue.LOCAL) -> Experiment:
    """Returns the experiment that a file declares as ``experiment``.

    Args:
        name: A path to a ``.py`` file, or a name, as for `jaxresearch.catalogue.file_of`.
        directory: Where names are looked up first.

    Returns:
        The declared experiment.

    Raises:
        FileNotFoundError: If there is no such file; the message suggests the nearest name.
        ValueError: If the file fails to run (the message has the line), calls ``sys.exit``, or declares no `Experiment`.

    Example:
        >>> load("minst", directory=Path("nowhere"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: experiment must be a .py file, a name in nowhere or a shipped one; got 'minst'. Did you mean 'mnist'?
    """
    return load_with_sources(name, directory=directory).experiment


def load_with_sources(name: str, *, directory: Path = catalogue.LOCAL) -> Loaded:
    """Returns an experiment as `load` does, with the files it was loaded from.

    Args:
        name: As for `load`.
        directory: As for `load`.

    Returns:
        The experiment, and the contents of its file and of the modules beside it.

    Raises:
        FileNotFoundError: As `load`.
        ValueError: As `load`.

    Example:
        >>> [*load_with_sources("schedule").sources]
        ['schedule.py', 'mnist.py']
    """
    path = catalogue.file_of(name, directory=directory)
    if not path.is_file():
        raise FileNotFoundError(catalogue.missing(name, directory=directory))
    spec = importlib.util.spec_from_file_location(f"experiment {path.resolve()}", path)  # no other module's name
    assert spec is not None and spec.loader is not None  # a path that ends in .py always has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    folder, before = path.resolve().parent, dict(sys.modules)
    sys.path.insert(0, str(folder))  # modules beside the file can be imported
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise ValueError(
            f"experiment file {path} must only declare an experiment, got a call to sys.exit. Move it under "
            "if __name__ == '__main__':."
        ) from error
    except Exception as error:
        raise ValueError(blame(error, name, directory=directory) or f"experiment file {path}: {error}") from error
    finally:
        sys.path.remove(str(folder))
        new = {name: one for name, one in sys.modules.items() if one is not before.get(name)}
        setattr(module, _SOURCES, _files_of(module, new, folder))
        _forget(new, folder)
    if not isinstance(declared := getattr(module, "experiment", None), Experiment):
        raise ValueError(
            f"experiment file {path} must assign an Experiment to the name 'experiment', got "
            f"{'none' if declared is None else type(declared).__name__}. Write: experiment = Experiment(...)"
        )
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in getattr(module, _SOURCES)}
    return Loaded(declared, files)


def blame(error: Exception, name: str, *, directory: Path = catalogue.LOCAL) -> str | None:
    """Returns one line: an error and the line of the experiment's file that caused it. None if the file is not involved.

    Args:
        error: Raised while loading the file or by one of the experiment's functions.
        name: The experiment, as for `load`.
        directory: Where names are looked up first.

    Returns:
        A message. It opens with the error if this package or the file itself raised it, since it names the remedy. If Python
        needs the value of a traced array, it names the swept hyperparameters on that line and the remedy.

    Example:
        >>> blame(ValueError("elsewhere"), "mnist") is None
        True
    """
    path = catalogue.file_of(name, directory=directory)
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
        reason = error.msg if error.msg.endswith("?") else f"{error.msg}."
        return f"experiment file {path} failed at line {error.lineno}: {(error.text or '').strip()!r}: {reason}"
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
    if unknown := _UNKNOWN_FIELD.match(what):
        return f"{_remedy_of_unknown(unknown[1])} (experiment file {path}, line {place.lineno})"
    is_ours = last is place or Path(last.filename).is_relative_to(_PACKAGE)
    if isinstance(error, ValueError | OSError) and what and is_ours and "raise " in (last.line or ""):
        return f"{what} (experiment file {path}, line {place.lineno})"
    return f"{at}: {type(error).__name__}: {what}{_nearest_attribute(error)}"


_UNKNOWN_FIELD = re.compile(r"Experiment\.__init__\(\) got an unexpected keyword argument '(\w+)'")


def _remedy_of_unknown(name: str) -> str:
    """Returns the message for an argument that an experiment does not take."""
    names = [field.name for field in dataclasses.fields(Experiment)]
    near = difflib.get_close_matches(name, names, n=1)
    advice = f"Did you mean {near[0]!r}?" if near else "Leave it out."
    return f"Experiment must be given some of {', '.join(names)}, got {name!r}. {advice}"


def _nearest_attribute(error: Exception) -> str:
    """Returns the nearest name in the module that lacks the one an error is about; nothing for any other error."""
    if not isinstance(error, AttributeError) or not isinstance(error.obj, ModuleType):
        return ""
    public = [name for name in dir(error.obj) if not name.startswith("_")]
    near = difflib.get_close_matches(error.name or "", public, n=1)
    return f". Did you mean '{error.obj.__name__.rpartition('.')[2]}.{near[0]}'?" if near else ""


def _remedy_of_traced(what: str, on_line: list[str]) -> str:
    """Returns the remedy if Python needs the value of a traced array; JAX names the arguments on which the array depends."""
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
    """Returns the fields of hyperparameters; none for any other value."""
    is_instance = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return tuple(field for field in dataclasses.fields(value) if "bounds" in field.metadata) if is_instance else ()


def _files_of(module: ModuleType, new: dict[str, ModuleType], folder: Path) -> tuple[Path, ...]:
    """Returns the files in a folder from which an experiment was loaded: its own, its modules and experiments it loads."""
    files = [Path(module.__file__ or "").resolve()]
    for name, one in new.items():
        if _is_beside(name, one, folder):
            files.append(Path(one.__file__ or "").resolve())
        files += [file for file in vars(one).get(_SOURCES, ()) if file.is_relative_to(folder)]
    return tuple(dict.fromkeys(files))


def _is_beside(name: str, module: ModuleType, folder: Path) -> bool:
    """Returns whether a module was imported from a folder and is not part of this package."""
    place, file = folder.joinpath(*name.split(".")), getattr(module, "__file__", None)
    is_there = file is not None and Path(file).resolve() in (place.with_suffix(".py"), place / "__init__.py")
    return is_there and name.split(".")[0] != _PACKAGE.name


def _forget(new: dict[str, ModuleType], folder: Path) -> None:
    """Removes the modules of a folder from ``sys.modules``: another folder may have the same names, and files may change."""
    for name, module in new.items():
        if _is_beside(name, module, folder):
            del sys.modules[name]

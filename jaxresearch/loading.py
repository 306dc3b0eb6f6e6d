"""An experiment from the file that declares it, and which line of that file an error comes from."""

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from jaxresearch import catalogue
from jaxresearch.experiment import Experiment

_PACKAGE = Path(__file__).parent
_SOURCES = "__sources__"  # of a module: the files that it was loaded from


class Loaded(NamedTuple):
    """An experiment, and the files that it comes from: its own first, then those beside it that it imports or loads.

    ``sources`` has their contents by path, relative to the folder of the first.
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
        FileNotFoundError: If there is no such file; the message holds the nearest name.
        ValueError: If the file fails to run (the message holds its own line), ends the process, or declares no `Experiment`.

    Example:
        >>> load("minst", directory=Path("nowhere"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: experiment must be a .py file, a name in nowhere or a shipped one; got 'minst'. Did you mean 'mnist'?
    """
    return load_with_sources(name, directory=directory).experiment


def load_with_sources(name: str, *, directory: Path = catalogue.LOCAL) -> Loaded:
    """Returns an experiment as `load` does, with the files that it comes from.

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
            f"experiment file {path} must only declare an experiment, got a call of sys.exit. Put it below "
            "if __name__ == '__main__':."
        ) from error
    except Exception as error:
        raise ValueError(blame(error, name, directory=directory) or f"experiment file {path}: {error}") from error
    finally:
        sys.path.remove(str(folder))
        new = {name: one for name, one in sys.modules.items() if one is not before.get(name)}
        setattr(module, _SOURCES, _files_of(module, new, folder))
        _forget(new, folder)
    if not isinstance(getattr(module, "experiment", None), Experiment):
        raise ValueError(f"experiment file {path} must assign an Experiment to the name 'experiment'; it does not.")
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in getattr(module, _SOURCES)}
    return Loaded(module.experiment, files)


def blame(error: Exception, name: str, *, directory: Path = catalogue.LOCAL) -> str | None:
    """Returns what went wrong at which line of an experiment's file, on one line; None if the file had no part in it.

    Args:
        error: What was raised, at loading or from one of the experiment's functions.
        name: The experiment, as for `load`.
        directory: Where names are looked up first.

    Returns:
        A message. What this package refuses, or the file itself by a ``raise``, comes first: it tells what is the matter.

    Example:
        >>> blame(ValueError("elsewhere"), "mnist") is None
        True
    """
    path = catalogue.file_of(name, directory=directory)
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


def _files_of(module: ModuleType, new: dict[str, ModuleType], folder: Path) -> tuple[Path, ...]:
    """Returns the files in a folder that an experiment was loaded from: its own, modules, and experiments that it loads."""
    files = [Path(module.__file__ or "").resolve()]
    for name, one in new.items():
        if _is_beside(name, one, folder):
            files.append(Path(one.__file__ or "").resolve())
        files += [file for file in vars(one).get(_SOURCES, ()) if file.is_relative_to(folder)]
    return tuple(dict.fromkeys(files))


def _is_beside(name: str, module: ModuleType, folder: Path) -> bool:
    """Returns whether a module was imported from a folder, and is none of this package."""
    place, file = folder.joinpath(*name.split(".")), getattr(module, "__file__", None)
    is_there = file is not None and Path(file).resolve() in (place.with_suffix(".py"), place / "__init__.py")
    return is_there and name.split(".")[0] != _PACKAGE.name


def _forget(new: dict[str, ModuleType], folder: Path) -> None:
    """Drops modules that lie in a folder: another one may have modules of the same names, and these may change."""
    for name, module in new.items():
        if _is_beside(name, module, folder):
            del sys.modules[name]

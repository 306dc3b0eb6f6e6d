"""An experiment from the file that declares it, and which line of that file an error comes from."""

import importlib.util
import sys
import traceback
from pathlib import Path

from jaxresearch import catalogue
from jaxresearch.experiment import Experiment

_PACKAGE = Path(__file__).parent


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
    path = catalogue.file_of(name, directory=directory)
    if not path.is_file():
        raise FileNotFoundError(catalogue.missing(name, directory=directory))
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


def _forget(names: set[str], folder: Path) -> None:
    """Drops modules that lie in a folder: another one may have modules of the same names, and these may change."""
    for name in names:
        place = folder.joinpath(*name.split("."))
        file = getattr(sys.modules[name], "__file__", None)
        is_beside = file is not None and Path(file).resolve() in (place.with_suffix(".py"), place / "__init__.py")
        if is_beside and name.split(".")[0] != _PACKAGE.name:
            del sys.modules[name]

"""Experiments and templates by name: those in ./experiments and those shipped with the package. Importing this needs no JAX."""

import ast
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parent
LOCAL = Path("experiments")
TEMPLATES = ("table", "images", "text", "sequences", "reinforcement")


def shipped() -> Path:
    """Returns the folder of the experiments that come with the package.

    Returns:
        A folder inside the package if it was installed from a wheel, the one beside it in a checkout.

    Example:
        >>> (shipped() / "mnist.py").is_file()
        True
    """
    installed = _PACKAGE / "_experiments"
    return installed if installed.is_dir() else _PACKAGE.parent / "experiments"


def templates() -> Path:
    """Returns the folder of the templates in `TEMPLATES`.

    Returns:
        A folder inside the package.

    Example:
        >>> (templates() / "table.py").is_file()
        True
    """
    return _PACKAGE / "templates"


def file_of(name: str, *, directory: Path = LOCAL) -> Path:
    """Returns the file of an experiment, whether or not it exists.

    Args:
        name: A path to a ``.py`` file, or the name of a file in ``directory`` or of a shipped experiment. A name cannot point
            to another folder.
        directory: Where names are looked up first: a file there hides the shipped one of the same name.

    Returns:
        The path.

    Example:
        >>> file_of("mine/first.py").as_posix(), file_of("../elsewhere/first").as_posix(), file_of("mnist").name
        ('mine/first.py', 'experiments/first.py', 'mnist.py')

    References:
        CWE-22, Improper limitation of a pathname to a restricted directory. https://cwe.mitre.org/data/definitions/22.html
    """
    if name.endswith(".py"):
        return Path(name)
    file = f"{Path(name).name}.py"
    found = (folder / file for folder in (directory, shipped()) if (folder / file).is_file())
    return next(found, directory / file)


def located(name: str, *, directory: Path = LOCAL) -> str:
    """Returns the name or path by which an experiment is found from any folder.

    Args:
        name: As for `file_of`.
        directory: As for `file_of`.

    Returns:
        The absolute path of a file; for a shipped experiment its bare name, which is valid wherever the package is installed.

    Example:
        >>> located("mnist"), Path(located("mine.py")).is_absolute()
        ('mnist', True)
    """
    path = file_of(name, directory=directory)
    is_shipped = not name.endswith(".py") and path.resolve().parent == shipped().resolve()
    return path.stem if is_shipped else os.path.abspath(path)


def files(*, directory: Path = LOCAL) -> dict[str, Path]:
    """Returns the file of each named experiment, sorted by name.

    Args:
        directory: As for `file_of`.

    Returns:
        Paths by name.

    Example:
        >>> files(directory=Path("nowhere"))["mnist"].name
        'mnist.py'
    """
    found = {path.stem: path for folder in (shipped(), directory) for path in folder.glob("*.py")}
    return {name: found[name] for name in sorted(found) if not name.startswith("_")}


def headline(path: Path) -> str:
    """Returns the first line of a file's docstring, without running the file.

    Args:
        path: A Python file.

    Returns:
        One line; if there is none, the reason in parentheses.

    Example:
        >>> headline(file_of("mnist"))
        'Does a 784-128-10 network reach 98.04 % on MNIST in five epochs of Adam?'
    """
    try:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        return f"(unreadable: {error})"
    return text.splitlines()[0] if text else "(no docstring)"


def source_of(name: str, *, directory: Path = LOCAL) -> str:
    """Returns the text of an experiment's file.

    Args:
        name: As for `file_of`.
        directory: As for `file_of`.

    Returns:
        Python source.

    Raises:
        FileNotFoundError: If there is no such file; the message suggests the nearest name.

    Example:
        >>> source_of("mnist").splitlines()[0]
        '\"\"\"Does a 784-128-10 network reach 98.04 % on MNIST in five epochs of Adam?'
    """
    path = file_of(name, directory=directory)
    if not path.is_file():
        raise FileNotFoundError(missing(name, directory=directory))
    return path.read_text(encoding="utf-8")


def missing(name: str, *, directory: Path = LOCAL) -> str:
    """Returns the error message for an experiment that has no file.

    Args:
        name: As for `file_of`.
        directory: As for `file_of`.

    Returns:
        One line that suggests the nearest name.

    Example:
        >>> missing("minst")
        "experiment must be a .py file, a name in experiments or a shipped one; got 'minst'. Did you mean 'mnist'?"
    """
    rule = f"experiment must be a .py file, a name in {directory} or a shipped one"
    if name.endswith(".py"):
        near = nearest_path(name)
    else:
        near = f"{name}.py" if Path(f"{name}.py").is_file() else None
    if near is None and Path(name).is_file():
        return f"{rule}; got the file {name!r}. Pass data with --data: jaxresearch run EXPERIMENT --data {name}"
    if near is None and name.endswith(".py"):
        return f"experiment must be a file that exists, got {name!r}. Correct the path."
    advice = nearest(name, [*files(directory=directory)]) if near is None else f"Did you mean {near!r}?"
    return f"{rule}; got {name!r}. {advice}"


def nearest(name: str, names: Sequence[str]) -> str:
    """Returns advice for an unknown name.

    Args:
        name: As given.
        names: The known names.

    Returns:
        The nearest name, or all names.

    Example:
        >>> nearest("tabel", TEMPLATES), nearest("x", ["a", "b"])
        ("Did you mean 'table'?", 'Choose one of a, b.')
    """
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Choose one of {', '.join(names)}."


def nearest_path(path: str | Path) -> str | None:
    """Returns the path in the same folder, and with the same suffix, whose name is nearest to that of a missing path.

    Args:
        path: As given.

    Returns:
        A path; None if the given one exists, or no name is near.

    Example:
        >>> nearest_path(templates() / "tabel.py") == str(templates() / "table.py"), nearest_path("nowhere/mine.csv")
        (True, None)
    """
    path = Path(path)
    if path.exists():
        return None
    stems = sorted(one.stem for one in path.parent.glob(f"*{path.suffix}") if one.suffix == path.suffix)
    near = difflib.get_close_matches(path.stem, stems, n=1)  # the suffix would make all names alike
    return str(path.with_name(near[0] + path.suffix)) if near else None


def path_advice(path: str | Path) -> str:
    """Returns advice for a path that does not exist.

    Args:
        path: As given.

    Returns:
        The nearest path, or to correct it.

    Example:
        >>> path_advice("nowhere/mine.csv")
        'Correct the path.'
    """
    near = nearest_path(path)
    return f"Did you mean {near!r}?" if near else "Correct the path."


def template(kind: str) -> str:
    """Returns the text of a new experiment.

    Args:
        kind: One of `TEMPLATES`.

    Returns:
        Python source that runs unchanged.

    Raises:
        ValueError: If there is no such template.

    Example:
        >>> "experiment = Experiment(" in template("table")
        True
    """
    if kind not in TEMPLATES:
        rule = f"the kind of data must be one of {', '.join(TEMPLATES)}"
        raise ValueError(f"{rule}, got {kind!r}. {nearest(kind, TEMPLATES)}")
    return (templates() / f"{kind}.py").read_text(encoding="utf-8")

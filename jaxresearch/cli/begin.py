"""``jaxresearch list``, ``copy`` and ``new``: find an experiment, or get a file to edit."""

import shlex
from pathlib import Path

from jaxresearch import catalogue
from jaxresearch.cli.errors import CommandError

_FOR = "--for"
_KINDS = "|".join(catalogue.TEMPLATES)
HELP_OF = {
    "list": """\
usage: jaxresearch list

Lists the named experiments and their questions: those in ./experiments and those in the package. A file in ./experiments hides
the one of the same name in the package.
""",
    "copy": """\
usage: jaxresearch copy EXPERIMENT FILE

Copies an experiment's file for you to edit: jaxresearch copy mnist my.py, then jaxresearch run my.py. An existing file is not
overwritten.
""",
    "new": f"""\
usage: jaxresearch new FILE [{_FOR} {_KINDS}]

Writes a commented experiment for you to edit. It runs unchanged: jaxresearch new my.py, then jaxresearch run my.py.
Comments mark what to change for your own data. An existing file is not overwritten.

""",
}


def help_of(command: str) -> str:
    """Returns the help of a command; for ``new``, with a line on each template."""
    if command != "new":
        return HELP_OF[command]
    folder = catalogue.templates()
    lines = [f"  {kind:<16} {catalogue.headline(folder / f'{kind}.py')}\n" for kind in catalogue.TEMPLATES]
    return HELP_OF[command] + "".join(lines) + f"\nThe default is {_FOR} table.\n"


def begin(command: str, words: list[str]) -> int:
    """Carries out one of these commands; returns the exit code."""
    if command == "list":
        return _list(words)
    return _copy(words) if command == "copy" else _new(words)


def _list(words: list[str]) -> int:
    """Prints the experiments and the first line of each, without running them."""
    if words:
        raise CommandError(f"list takes no arguments, got {words[0]!r}. Write: jaxresearch list", code=2)
    for name, path in catalogue.files().items():
        where = "" if path.parent == catalogue.shipped() else f"  ({path})"
        print(f"{name:<20} {catalogue.headline(path)}{where}")
    return 0


def _copy(words: list[str]) -> int:
    """Copies the file of an experiment."""
    if len(words) != 2 or any(word.startswith("-") for word in words):
        given = f"got {shlex.join(words)}" if words else "got nothing"
        raise CommandError(f"copy takes an experiment and a file, {given}. Write: jaxresearch copy mnist my.py", code=2)
    try:
        text = catalogue.source_of(words[0])
    except OSError as error:
        raise CommandError(str(error), code=2) from error
    return _written(words[1], text)


def _new(words: list[str]) -> int:
    """Writes a template."""
    rest, kind = list(words), catalogue.TEMPLATES[0]
    if _FOR in rest and rest.index(_FOR) + 1 < len(rest):
        at = rest.index(_FOR)
        kind = rest[at + 1]
        del rest[at : at + 2]
    if len(rest) != 1 or rest[0].startswith("-"):
        given = f"got {shlex.join(words)}" if words else "got nothing"
        rule = f"new takes a file and {_FOR} {_KINDS}"
        raise CommandError(f"{rule}, {given}. Write: jaxresearch new my.py {_FOR} table", code=2)
    try:
        text = catalogue.template(kind)
    except ValueError as error:
        raise CommandError(str(error), code=2) from error
    return _written(rest[0], text)


def _written(name: str, text: str) -> int:
    """Writes a new file, and prints how to run it."""
    path = Path(name)
    if path.suffix != ".py":
        raise CommandError(f"file must end in .py, got {name}. Write: {path.name}.py", code=2)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise CommandError(f"file must not exist yet, got {name}. Choose another name.", code=2) from error
    except OSError as error:
        rule = f"file must be in an existing, writable folder, got {name}"
        raise CommandError(f"{rule} ({error.strerror}). Create the folder first.", code=2) from error
    print(f"wrote {name}. Check that it works: jaxresearch run {shlex.quote(name)} --smoke")
    return 0

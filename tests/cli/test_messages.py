"""Messages name options that exist, for the command that prints them."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest

import jaxresearch
from jaxresearch import cli, loading
from jaxresearch.cli.options import names_of

PACKAGE = Path(jaxresearch.__file__).parent


def _messages(path):
    """Returns the strings of a source file, docstrings excepted; the fields of f-strings are left out."""
    tree = ast.parse(path.read_text())
    docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docs:
            yield node.value


_OTHERS = {"--porcelain", "--version"}  # of git; of the program itself
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef
_DIRECTORY_COMMANDS = {
    "cli/anonymise.py": ("anonymise",),
    "cli/predict.py": ("predict",),
    "cli/export.py": ("export",),
    "cli/models.py": ("predict", "export"),
    "cli/compare.py": ("compare",),
    "cli/report.py": ("report",),
    "data/new_rows.py": ("predict",),
}


def _options(text):
    return {*re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])", text)}


def test_messages_name_options_that_exist():
    trained = {
        f"--{name.replace('_', '-')}"
        for command in ("run", "sweep", "study", "plan", "audit")
        for name in names_of(command)
    }
    fields = {
        f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(loading.load("mnist").hyperparameters)
    }
    known = trained | fields | _options(cli._HELP + "".join(cli._OPTIONS_OF.values())) | _OTHERS
    for path in PACKAGE.rglob("*.py"):
        for message in _messages(path):
            assert _options(message) <= known, (path, message)


@pytest.mark.parametrize("file", _DIRECTORY_COMMANDS)
def test_messages_of_a_command_name_its_own_options(file):
    for command in _DIRECTORY_COMMANDS[file]:
        known = _options(cli._OPTIONS_OF[command])
        for message in _messages(PACKAGE / file):
            assert _options(message) <= known, message

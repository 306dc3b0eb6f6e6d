"""Every page of the documentation is correct: its code runs and prints the output shown.

A page runs from top to bottom in a folder that contains only ``experiments/`` and ``tests/examples/``:

- ``python`` blocks share one namespace. One whose first line is ``# NAME.py`` is saved under that name as well.
- The lines of a ``console`` block that start with ``$`` are commands, each followed by its output.
- A ``text`` block right after a ``python`` block is its output.

In the output, ``...`` stands for anything, and white space is not compared. A command has to exit with 0, unless
``$ echo $?`` follows it.
"""

import contextlib
import doctest
import io
import re
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|console|text)\n(.*?)^```\n(\n```text\n(.*?)^```$)?", re.M | re.S)
CODE = [page for page in PAGES if re.search(r"^```(python|console)$", page.read_text(), re.M)]


def require_printed(shown, printed, code):
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert checker.check_output(shown, printed, flags), f"{code}\nprinted:\n{printed}\nbut the page shows:\n{shown}"


def run_python(code, shown, names):
    first = code.splitlines()[0]
    if re.fullmatch(r"# \w+\.py", first):
        Path(first[2:]).write_text(code)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, first, "exec"), names)
    if shown is not None:
        require_printed(shown, out.getvalue(), code)
    else:
        assert not out.getvalue(), f"{code}\nprints what the page does not show:\n{out.getvalue()}"


def run_console(text, command):
    code = 0
    for line, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.M):
        if line == "echo $?":
            require_printed(shown, f"{code}\n", line)
            code = 0
            continue
        assert code == 0, f"exit code {code} before {line!r}"
        if line.startswith("jaxresearch "):
            done = command(*line.split()[1:], cwd=Path.cwd(), COLUMNS="100")
        else:
            done = subprocess.run(line, shell=True, capture_output=True, text=True)
        code = done.returncode
        require_printed(shown, done.stdout if code == 0 else done.stderr, f"{line}\n{done.stderr}")
    assert code == 0, f"the last command ended with exit code {code}"


@pytest.mark.long
@pytest.mark.parametrize("page", CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_does_what_it_shows(page, tmp_path, monkeypatch, command):
    for folder in ("experiments", "tests/examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = {"__name__": page.stem}
    text = page.read_text()
    with jax.debug_key_reuse("hypergradients.reverse" not in text):  # recomputed steps use their keys again, on purpose
        for kind, code, _, shown in BLOCK.findall(text):
            if kind == "python":
                run_python(code, shown or None, names)
            elif kind == "console":
                run_console(code, command)

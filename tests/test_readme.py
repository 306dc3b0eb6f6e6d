"""The README's code runs as it stands, in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def _run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_six_lines_train_the_network():
    assert len(BLOCKS[0].strip().splitlines()) == 6
    accuracy = float(re.search(r"accuracy.*?(0\.\d+)", _run(BLOCKS[0]))[1])
    # Ten seeds lie between 97.3 and 97.9 %.
    assert 0.970 < accuracy < 0.982


@pytest.mark.long
@pytest.mark.parametrize("block", BLOCKS[1:])
def test_the_other_blocks_run(block):
    _run(block)


def test_the_tree_names_what_is_there():
    tree = README.split("## The house")[1]
    package = Path(__file__).parents[1] / "jaxresearch"
    for path in package.iterdir():
        if path.suffix == ".py" and not path.name.startswith("__") or (path / "__init__.py").is_file():
            assert re.search(rf"^  {path.name}/? ", tree, re.M), f"{path.name} is not in the README's tree"

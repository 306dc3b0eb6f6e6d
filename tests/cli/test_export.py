"""``jaxresearch export``: the models of a run as files, with a description beside them."""

import hashlib
import json

import pytest

pytestmark = pytest.mark.long


@pytest.fixture
def trained(here, folder):
    """A folder with a run of the line experiment."""
    done = here("run", "line.py", "--seeds", "2", "--directory", "run")
    assert done.returncode == 0, done.stderr
    return folder


MISTAKES = {
    "no format": (["run"], "--to must be stablehlo or safetensors, got none. Write: --to stablehlo"),
    "another format": (["run", "--to", "onnx"], "--to must be stablehlo or safetensors, got onnx."),
    "two directories": (
        ["run", "run", "--to", "stablehlo"],
        "export needs one directory, got run run. Write: jaxresearch",
    ),
    "no run": (
        ["nowhere", "--to", "safetensors"],
        "nowhere does not exist. Correct the path.",
    ),
    "a folder": (
        ["run", "--to", "stablehlo", "--output", "no/a"],
        "--output must name a file in an existing folder, got no/a.",
    ),
    "an option": (["run", "--to", "stablehlo", "--unfinished"], "export has no option --unfinished, only --to FORMAT,"),
}


def test_both_formats_are_written_beside_their_description(here, trained, refused):
    for words, message in MISTAKES.values():
        refused(here("export", *words), message, ("line.py", "line.csv", "run"))
    for to, words in (("stablehlo", []), ("safetensors", ["--seeds", "1"])):
        done = here("export", "run", "--to", to, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{to}: run/model.{to}, described in run/model.{to}.json\n"
        schema = json.loads((trained / "run" / f"model.{to}.json").read_text())
        content = (trained / "run" / f"model.{to}").read_bytes()
        assert schema["sha256"] == hashlib.sha256(content).hexdigest() and schema["format"] == to
        assert schema["seeds"] == ([1] if words else [0, 1])


def test_an_export_has_the_question_of_its_run(here, folder):
    (folder / "other.csv").write_text((folder / "line.csv").read_text())
    done = here("run", "line.py", "--data", "other.csv", "--seeds", "2", "--epochs", "1", "--directory", "run")
    assert done.returncode == 0, done.stderr
    done = here("export", "run", "--to", "safetensors")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "run" / "model.safetensors.json").read_text())["question"] == "line on other.csv"

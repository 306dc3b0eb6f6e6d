"""``jaxresearch export``: the models of a run as files beside their description."""

import hashlib
import http.client
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.long

RECIPES = (Path(__file__).parents[2] / "docs" / "predict.md").read_text()


@pytest.fixture
def trained(here, folder):
    """A folder with a run of the line."""
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
        "directory must hold a run or study, got nowhere without config.json",
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
    for to, words in (("stablehlo", []), ("safetensors", ["--seeds", "1,"])):
        done = here("export", "run", "--to", to, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{to}: run/model.{to}, described in run/model.{to}.json\n"
        schema = json.loads((trained / "run" / f"model.{to}.json").read_text())
        content = (trained / "run" / f"model.{to}").read_bytes()
        assert schema["sha256"] == hashlib.sha256(content).hexdigest() and schema["format"] == to
        assert schema["seeds"] == ([1] if words else [0, 1])


def test_the_served_model_of_the_recipe_answers(here, trained):
    assert here("export", "run", "--to", "stablehlo", "--output", "model.stablehlo").returncode == 0
    (server,) = [block for block in re.findall(r"```python\n(.*?)```", RECIPES, re.S) if "HTTPServer" in block]
    assert "import jaxresearch" not in server and "from jaxresearch" not in server
    (trained / "new.csv").write_text("x\n0.5\n-1\n")
    assert here("predict", "run", "new.csv", "--output", "expected.npy").returncode == 0
    code = server.replace('("127.0.0.1", 8000)', '("127.0.0.1", 0)').replace(
        "server.serve_forever()", "print(server.server_port, flush=True)\nserver.handle_request()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=trained, stdout=subprocess.PIPE, text=True) as served:
        connection = http.client.HTTPConnection("127.0.0.1", int(served.stdout.readline()), timeout=60)
        connection.request("POST", "/", json.dumps([{"x": 0.5}, {"x": -1}]))
        answer = json.loads(connection.getresponse().read())
    np.testing.assert_allclose(answer["values"], np.load(trained / "expected.npy"), rtol=1e-5)

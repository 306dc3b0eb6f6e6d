"""One device, eight devices and two processes of four train the same networks; how each array is split is on record.

The record is `shardings.json`. After a change of the rules or the models, write it again and review the difference:

    python tests/scale/test_meshes.py
"""

import functools
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from jaxresearch import devices, partitioning
from jaxresearch import experiment as experiments

PROGRAM = Path(__file__).with_name("eight_devices.py")
RECORD = Path(__file__).with_name("shardings.json")
_SPEC = importlib.util.spec_from_file_location("eight_devices", PROGRAM)
eight_devices = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(eight_devices)

NETWORKS = ("network", "encoder", "decoder")
ON_EIGHT = ["data", "fsdp", "tensor", "runs and fsdp", "runs and tensor"]
ON_TWO = ["data", "fsdp", "tensor alone", "runs and fsdp"]  # the first axis of each crosses the processes
DATA = {"data=8": (1, 8, 1, 1)}
MESHES = {"fsdp=8": (1, 1, 8, 1), "tensor=8": (1, 1, 1, 8), "fsdp=2,tensor=4": (1, 1, 2, 4)}


def _marked(meshes, *long):
    """Returns the meshes as parameters: those that use every axis are tried in each check, the others by hand."""
    return [pytest.param(mesh, marks=pytest.mark.long if mesh in long else pytest.mark.slow) for mesh in meshes]


def shardings(network, meshes=MESHES):
    """Returns the shape of each array of a state, and its axes under each mesh, by path."""
    experiment, settings, data = eight_devices.cases()[network]
    state = jax.eval_shape(experiments.program(experiment, data).init, jax.random.key(0), settings)
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found[name] = {"shape": str(leaf.shape)}
        for mesh, sizes in meshes.items():
            kinds = (AxisType.Auto,) * len(sizes)
            with jax.sharding.use_abstract_mesh(AbstractMesh(sizes, devices.AXES, axis_types=kinds)):
                axes = partitioning.spec(name, leaf.shape)
            found[name][mesh] = ", ".join(axis or "-" for axis in axes) if any(axes) else "whole"
    return found


def table(found):
    """Returns shardings as JSON, a line for each array."""
    networks = (
        f'"{network}": {{\n'
        + ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in by_name.items())
        + "\n}"
        for network, by_name in found.items()
    )
    return "{\n" + ",\n".join(networks) + "\n}\n"


def in_processes(folder, *words, n=1):
    """Returns what the program writes in one process or in several."""
    file = folder / f"{'-'.join(words).replace(' ', '-')}-{n}.json"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    each = [[]] if n == 1 else [["--process", str(number), "--port", port] for number in range(n)]
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, file, *words, *own], stderr=subprocess.PIPE, text=True, env=os.environ
        )
        for own in each
    ]
    try:
        for process in started:
            _, err = process.communicate(timeout=1200)
            assert process.returncode == 0, err[-2000:]
    finally:
        for process in started:
            process.kill()
    return json.loads(file.read_text())


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("meshes")


@pytest.fixture(scope="session")
def one(folder):
    return in_processes(folder)


@pytest.fixture(scope="session")
def eight(folder):
    """What eight devices find under a mesh."""
    return functools.cache(lambda mesh: in_processes(folder, "--devices", "8", "--meshes", mesh))


@pytest.fixture(scope="session")
def two(folder):
    """What two processes of four devices find under a mesh."""
    return functools.cache(lambda mesh: in_processes(folder, "--devices", "4", "--meshes", mesh, n=2))


def require_equal(found, expected):
    # 50 steps in float32, whose sums are in another order.
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-5)
    for name, values in expected["metrics"].items():
        np.testing.assert_allclose(found["metrics"][name], values, rtol=1e-5)


@pytest.mark.parametrize("mesh", _marked(ON_EIGHT, "tensor", "runs and fsdp"))
@pytest.mark.parametrize("network", (*NETWORKS, "nested"))
def test_eight_devices_train_as_one(one, eight, network, mesh):
    require_equal(eight(mesh)[network][mesh], one[network]["none"])


@pytest.mark.parametrize("mesh", _marked(ON_TWO, "fsdp"))
@pytest.mark.parametrize("network", (*NETWORKS, "nested"))
def test_two_processes_train_as_one(one, two, network, mesh):
    require_equal(two(mesh)[network][mesh], one[network]["none"])


@pytest.mark.parametrize("network", NETWORKS)
def test_every_array_is_split_as_on_record(network):
    assert shardings(network) == json.loads(RECORD.read_text())[network]


@pytest.mark.parametrize("network", NETWORKS)
def test_data_parallelism_leaves_every_array_whole(network):
    assert {found["data=8"] for found in shardings(network, DATA).values()} == {"whole"}


if __name__ == "__main__":
    RECORD.write_text(table({network: shardings(network) for network in NETWORKS}))

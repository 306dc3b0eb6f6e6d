"""A checkpoint is trusted only if intact: flipped bits, truncated, missing and swapped files are detected."""

import shutil
import subprocess
import sys
import threading
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch.interruption import Interrupted
from jaxresearch.records import CheckpointError, Checkpoints, verify
from jaxresearch.training import TrainState


def state(step):
    """Returns a state of all supported types: floats, integers, bfloat16, scalars, typed keys, an empty leaf."""
    values = np.random.default_rng(step).normal(size=(5, 3)).astype(np.float32)
    params = {"kernel": values, "half": jnp.asarray(values, jnp.bfloat16), "none": np.zeros((0, 2), np.float32)}
    return TrainState(params, {"key": jax.random.split(jax.random.key(step), 2)}, (values**2,))


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns a run's directory with steps 10 and 20."""
    path = tmp_path_factory.mktemp("saved")
    for step in (10, 20):
        Checkpoints(path).write(step, state(step), about={"seconds": 1.5})
    return path


def files(path):
    return sorted(file for file in (path / "checkpoints" / "20").rglob("*") if file.is_file())


def goes_back_to_step_10(path):
    """Checks that step 20 is noticed and set aside with its reason, and step 10 is used."""
    restored = Checkpoints(path).restore(state(0))
    assert restored is not None and restored.step == 10, "the altered step was trusted"
    assert_same(restored.state, state(10))
    assert (path / "quarantine" / "20").is_dir() and (path / "quarantine" / "20.txt").read_text().strip()
    assert Checkpoints(path).steps() == [10]


def test_a_saved_state_is_restored(saved):
    restored = Checkpoints(saved).restore(jax.eval_shape(lambda: state(0)))
    assert restored.step == 20 and restored.about == {"seconds": 1.5}
    assert_same(restored.state, state(20))
    assert Checkpoints(saved / "nothing").restore(state(0)) is None


def flips(saved, tmp_path, n):
    generator = np.random.default_rng(n)
    names = files(saved)
    for trial in range(n):
        path = tmp_path / str(trial)
        shutil.copytree(saved, path)
        file = path / names[trial % len(names)].relative_to(saved)  # spread over every file
        content = bytearray(file.read_bytes())
        if not content:
            content = bytearray(1)  # an empty file has no bits: add a byte
        else:
            bit = generator.integers(8 * len(content))
            content[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(content)
        goes_back_to_step_10(path)
        shutil.rmtree(path)


def test_no_flipped_bit_is_silent(saved, tmp_path):
    flips(saved, tmp_path, 60)


@pytest.mark.faults
def test_none_of_a_thousand_flipped_bits_is_silent(saved, tmp_path):
    flips(saved, tmp_path, 1000)


@pytest.mark.parametrize("harm", ["cut", "emptied", "zeroed", "deleted", "swapped", "added", "linked"])
def test_no_harm_to_a_file_is_silent(saved, tmp_path, harm):
    for number, original in enumerate(files(saved)):
        path = tmp_path / f"{harm}{number}"
        shutil.copytree(saved, path)
        file = path / original.relative_to(saved)
        content = file.read_bytes()
        if harm == "cut":
            file.write_bytes(content[:-1])
        elif harm == "emptied":
            file.write_bytes(b"")
        elif harm == "zeroed":
            file.write_bytes(bytes(len(content)))
        elif harm == "deleted":
            file.unlink()
        elif harm == "swapped":
            others = [other for other in files(path) if other.read_bytes() != content]
            others[0].replace(file)
        elif harm == "added":
            file.with_name(file.name + ".more").write_bytes(b"x")
        elif harm == "linked":
            file.unlink()
            file.symlink_to("/nowhere")
        if harm in ("cut", "emptied", "zeroed") and file.read_bytes() == content:
            continue  # an empty file cannot be truncated
        goes_back_to_step_10(path)


def test_a_manifest_of_another_step_is_noticed(saved, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(saved, path)
    shutil.rmtree(path / "checkpoints" / "20")
    shutil.copytree(path / "checkpoints" / "10", path / "checkpoints" / "20")
    goes_back_to_step_10(path)


def test_no_valid_checkpoint_left_is_reported(saved, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(saved, path)
    for step in (10, 20):
        (path / "checkpoints" / str(step) / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no checkpoint of .* verifies: .*manifest.json is altered; 2 moved to"):
        Checkpoints(path).restore(state(0))
    assert sorted(entry.name for entry in (path / "quarantine").iterdir()) == ["10", "10.txt", "20", "20.txt"]


def test_leftovers_of_a_killed_process_are_removed(saved, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(saved, path)
    folder = path / "checkpoints"
    shutil.copytree(folder / "20", folder / ".new-30")
    shutil.copytree(folder / "10", folder / ".trash-5")
    assert Checkpoints(path).steps() == [10, 20]
    assert Checkpoints(path).restore(state(0)).step == 20
    assert sorted(entry.name for entry in folder.iterdir()) == ["10", "20"]


def test_a_state_of_another_structure_is_refused(saved, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(saved, path)
    other = state(0)._replace(params={"kernel": np.zeros((5, 4), np.float32)})
    with pytest.raises(CheckpointError, match=r"the state of the experiment has changed since step 20 of .*: params"):
        Checkpoints(path).restore(other)
    assert Checkpoints(path).steps() == [10, 20] and not (path / "quarantine").exists()  # it is valid: it stays


def test_the_last_two_steps_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20, 30, 25):
        checkpoints.write(step, {"a": np.full(2, step)}, about={"seconds": step})
    assert checkpoints.steps() == [25, 30]
    for step in checkpoints.steps():
        assert verify(checkpoints.folder / str(step))["about"] == {"seconds": step}


def test_an_error_in_the_background_is_not_lost(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    checkpoints.write_in_background(1, {"a": np.ones(2)}, about=dict)
    with pytest.raises(CheckpointError, match="step 1 could not be saved"):
        checkpoints.wait()


def test_a_disk_that_fills_up_while_orbax_writes_is_one_error(tmp_path):
    """The disk had space when it was checked."""
    program = """if True:
        import pathlib, resource, sys, numpy
        from jaxresearch.records import CheckpointError, Checkpoints, checkpoints
        checkpoints._require_room = lambda *_: None
        kept, state = Checkpoints(sys.argv[1]), {f"a{i}": numpy.random.rand(100_000) for i in range(3)}
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))
        for _ in range(3):
            try:
                kept.write(2, state)
            except CheckpointError as error:
                print(error)
        print([*kept.folder.iterdir()])
    """
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == 3 * "step 2 could not be saved: File too large\n" + "[]\n" and done.stderr == ""


def test_close_joins_the_writer_through_an_interruption(tmp_path):
    """A directory that is removed afterwards receives no more writes."""
    checkpoints, may_write = Checkpoints(tmp_path), threading.Event()

    def about():
        may_write.wait(10)
        return {}

    checkpoints.write_in_background(10, state(10), about=about)
    shutdown = checkpoints._writer.shutdown

    def interrupted():
        if not may_write.is_set():
            may_write.set()
            raise Interrupted
        shutdown()

    with mock.patch.object(checkpoints._writer, "shutdown", interrupted), pytest.raises(Interrupted):
        checkpoints.close()
    assert not checkpoints.is_saving and checkpoints.steps() == [10]


def test_write_in_background_copies_the_state(tmp_path):
    values = np.ones(1000)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write_in_background(1, {"a": values}, about=dict)
    values[:] = 2
    checkpoints.wait()
    assert checkpoints.restore({"a": values}).state["a"].max() == 1

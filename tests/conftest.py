"""Tests use stricter JAX settings than users: no implicit rank promotion, no key reuse."""

import contextlib
import ctypes
import gc
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# With these, the computations of the tests compile in a third of the CPU time; the programs of runs set their own options.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 12):  # removed in 0.12
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()  # the key that authenticates the copies in run directories

ROOT = Path(__file__).parents[1]

least = 0  # bytes of memory of this process after the imports, or since programs were last dropped


# Not run by `make test-typed`: they call few functions of arrays, pass a wrong shape on purpose, or run by themselves.
UNTYPED_PLACES = ("cli", "docs", "faults", "test_conventions.py")
UNTYPED_MARKS = {"long", "slow", "faults", "tfds", "raises", "wheel"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the tests that run with annotations checked; the doctests in the package are not among them."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests"):
            place = item.path.relative_to(ROOT / "tests").parts[0]
            if place not in UNTYPED_PLACES and not UNTYPED_MARKS & {mark.name for mark in item.iter_markers()}:
                item.add_marker("typed")


def resident():
    """Returns the bytes of memory of this process, or 0 where they are not known."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def pytest_collection_finish():
    """Leaves what imports made out of later garbage collections, which would take a quarter of a second each."""
    global least
    gc.collect()
    gc.freeze()
    least = resident()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    """Returns the memory of compiled programs once it is a gigabyte; those of all tests are several, and too many maps.

    Until then, tests share the programs: without them, each operation is traced, lowered and read from the disk again.
    """
    global least
    result = yield
    if resident() > least + 1e9:
        jax.clear_caches()
        gc.collect()
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # glibc keeps what is freed
            libc.malloc_trim(0)
        least = resident()
    return result


@pytest.fixture
def key():
    """The random key of a test."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def jaxresearch(tmp_path_factory):
    """Runs a command in a process of its own, forked from one that has imported everything."""
    folder = tmp_path_factory.mktemp("commands")
    program = [sys.executable, Path(__file__).with_name("warm.py")]

    def command(*words, cwd=ROOT, **environment):
        words = [str(word) for word in words]
        out, err = folder / "out", folder / "err"
        for file in (out, err):
            file.unlink(missing_ok=True)
        environment = {**os.environ, "COLUMNS": "200", **environment}
        asked = {"words": words, "folder": str(cwd), "environment": environment, "out": str(out), "err": str(err)}
        warm.stdin.write(json.dumps(asked) + "\n")
        warm.stdin.flush()
        code = int(warm.stdout.readline())
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as warm:
        yield command


@pytest.fixture(scope="session")
def command():
    """Runs a command in this process, whose JAX is already configured."""
    from jaxresearch.cli import display, explain, export, main, plan, predict, report, session, summary

    def carry_out(*words, cwd=ROOT, **environment):
        words, out, err = [str(word) for word in words], io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            for context in (contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)):
                stack.enter_context(context)
            stack.enter_context(mock.patch.dict(os.environ, {"COLUMNS": "200", **environment}))
            stack.enter_context(mock.patch.object(sys, "argv", ["jaxresearch", *words]))  # recorded in environment.json
            for module in (session, report, predict, export, explain, plan, summary):
                stack.enter_context(mock.patch.object(module, "configure"))
            stack.enter_context(mock.patch.object(display, "_PATIENCE", 3600))  # a busy machine prints no more lines
            try:
                code = main(words)
            except SystemExit as exit:  # after printing help
                code = exit.code or 0
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    return carry_out


def free_address():
    """Returns an address of this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start(*words, each=((), ()), n_devices=1, cwds=(ROOT, ROOT), environments=({}, {})):
    """Starts a command in several processes that join, each with further words, and returns the processes."""
    joined = ["--distributed", "--coordinator", free_address(), "--processes", len(each)]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "jaxresearch", *map(str, (*words, *joined, "--process", number, *own))],
            env={**os.environ, "JAX_NUM_CPU_DEVICES": str(n_devices), **environment},
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, (own, cwd, environment) in enumerate(zip(each, cwds, environments, strict=False))
    ]


def ended(started, timeout=200):
    """Waits for processes, and returns their exit codes and the lines that they print."""
    try:
        lines = [process.communicate(timeout=timeout)[1].splitlines() for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], sum(lines, [])


@pytest.fixture(scope="session")
def joined():
    """Carries out a command in several processes: `start` and `ended`, or `carry_out` for both."""
    return SimpleNamespace(
        start=start, ended=ended, carry_out=lambda *words, **options: ended(start(*words, **options))
    )


@pytest.fixture(scope="session")
def flip_a_bit():
    """Returns a function that flips one bit of the largest file in a folder."""

    def flip(folder):
        file = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    return flip

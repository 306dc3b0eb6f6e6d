"""The package imports without POSIX modules, signals and calls."""

import os
import subprocess
import sys
from unittest import mock

import pytest

from jaxresearch.records import files

# Other libraries detect the platform themselves, so only our own imports are refused.
SCRIPT = """
import builtins, importlib, os, pkgutil, signal

missing = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
plain = builtins.__import__

def refusing(name, globals=None, *rest, **options):
    if name.split(".")[0] in missing and (globals or {}).get("__name__", "").startswith("jaxresearch"):
        raise ImportError(f"{globals['__name__']} imports {name}, which Windows lacks")
    return plain(name, globals, *rest, **options)

import jax, numpy, tensorflow_datasets, orbax.checkpoint, flax, optax, matplotlib.pyplot, rich, tyro
for name in ("SIGHUP", "SIGUSR1", "SIGALRM", "SIGKILL"):
    delattr(signal, name)
for name in ("fork", "O_DIRECTORY", "getuid", "sched_getaffinity", "sysconf", "uname", "statvfs"):
    delattr(os, name)
builtins.__import__ = refusing
import jaxresearch
n = 0
for info in pkgutil.walk_packages(jaxresearch.__path__, "jaxresearch."):
    if not info.name.endswith("__main__"):
        importlib.import_module(info.name)
        n += 1
print(n)
"""


@pytest.mark.long
def test_all_modules_import_without_posix_modules():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_windows_flushes_files_alone(tmp_path):
    """Windows cannot open a folder, and flushes only files opened for writing."""
    (tmp_path / "file").write_text("x")
    opened = mock.Mock(side_effect=os.open)
    # Paths are created first, since pathlib also reads the name of the system.
    with mock.patch.object(files.os, "name", "nt"), mock.patch.object(files.os, "open", opened):
        for path in (tmp_path, tmp_path / "file"):
            files.sync(path)
    assert [call.args for call in opened.call_args_list] == [(tmp_path / "file", os.O_RDWR)]

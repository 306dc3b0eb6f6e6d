"""A PostgreSQL server of its own for the tests that need one."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

SECRET = "open-sesame-42"  # the password of the server's user


def _program(name):
    """Returns the path of a program of PostgreSQL, or None; Debian keeps them out of PATH."""
    return shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)


def _as_user(owner):
    """Returns the words before a command that carry it out as another user than root, which PostgreSQL refuses to be."""
    return [] if owner == getpass.getuser() else ["runuser", "-u", owner, "--"]


def _free_port():
    """Returns a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def postgresql():
    """A server with a user ``ann``, her password, and her database ``trials``; stopped and removed at the end."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL is not installed: there is no initdb or no pg_ctl")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    owner = "postgres" if is_root else getpass.getuser()
    if is_root and (shutil.which("runuser") is None or not _has_user(owner)):
        pytest.skip("PostgreSQL does not run as root, and there is no runuser or no user postgres")
    with contextlib.ExitStack() as held:
        folder = Path(tempfile.mkdtemp(prefix="postgresql-"))  # pytest's own folders are closed to other users
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "password").write_text(SECRET)
        if is_root:
            for path in (folder, folder / "password"):
                shutil.chown(path, owner)
        environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ} | {"LC_ALL": "C"}

        def carry_out(*words, log=folder / "output"):
            with open(log, "ab") as output:  # a file: a pipe would stay open with the server
                return subprocess.run(
                    [*_as_user(owner), *words], cwd=folder, env=environment, stdout=output, stderr=output, timeout=120
                ).returncode

        data = folder / "data"
        asked = [
            initdb,
            "-D",
            data,
            "-U",
            "ann",
            "-A",
            "scram-sha-256",
            f"--pwfile={folder / 'password'}",
            "-E",
            "UTF8",
        ]
        if carry_out(*asked, "--no-sync"):
            pytest.skip(f"PostgreSQL's initdb failed: {(folder / 'output').read_text()[-500:]}")
        for _ in range(3):  # another process may take the port before the server does
            port = _free_port()
            settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
            if not carry_out(pg_ctl, "-D", data, "-w", "-t", "60", "-l", folder / "log", "-o", settings, "start"):
                break
        else:
            pytest.skip(f"PostgreSQL did not start: {(folder / 'output').read_text()[-500:]}")
        held.callback(carry_out, pg_ctl, "-D", data, "-w", "-m", "immediate", "stop")
        server = SimpleNamespace(url=f"postgresql://ann@127.0.0.1:{port}", port=port, password=SECRET)
        _execute(server, "postgres", "create database trials")
        server.execute = lambda *statements: _execute(server, "trials", *statements)
        yield server


def _has_user(name):
    """Returns whether this machine has a user."""
    import pwd

    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def _execute(server, database, *statements):
    """Carries out statements, and returns the rows of the last one if it has any."""
    import psycopg

    with psycopg.connect(
        host="127.0.0.1", port=server.port, user="ann", password=SECRET, dbname=database, autocommit=True
    ) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else None

"""Standard output that cannot be written ends no command: the results are recorded, and the exit code is right."""

import contextlib
import errno
import io
import os
import subprocess
import sys
from unittest import mock

import pytest

from jaxresearch.cli import main, output, report, session
from jaxresearch.records import RunDirectory

SHORT = ["--seeds", "2", "--epochs", "2"]
FULL = "jaxresearch: standard output could not be written (No space left on device). "


class Failing(io.StringIO):
    """A stream that fails after n writes."""

    def __init__(self, number, n_writes):
        super().__init__()
        self.number, self.n_writes = number, n_writes

    def write(self, text):
        self.n_writes -= 1
        if self.n_writes < 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.fixture
def failing(folder):
    """Runs a command whose standard output fails after n writes; returns its exit code and standard error."""

    def carry_out(*words, number=errno.ENOSPC, n_writes=0):
        out, err = Failing(number, n_writes), io.StringIO()
        with contextlib.ExitStack() as stack:
            for context in (
                contextlib.chdir(folder),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                *(mock.patch.object(module, "configure") for module in (session, report)),
            ):
                stack.enter_context(context)
            return main([str(word) for word in words]), err.getvalue()

    return carry_out


@pytest.mark.parametrize(
    ("number", "complaint"),
    [(errno.EPIPE, ""), (errno.ENOSPC, FULL + "All results are recorded.\n"), (errno.EBADF, None)],
)
def test_a_run_ends_as_if_its_output_were_read(failing, folder, number, complaint):
    code, errors = failing("run", "line.py", *SHORT, "--directory", "out", number=number, n_writes=2)
    assert code == 0 and (errors == complaint if complaint is not None else len(errors.splitlines()) == 1)
    assert (folder / "out" / "result.json").exists()


@pytest.mark.long
@pytest.mark.parametrize(("name", "last"), [("sweep", "sweep.csv"), ("study", "result.json")])
def test_a_sweep_and_a_study_end_as_if_their_output_were_read(failing, folder, name, last):
    words = ["--learning-rate", "0.1,0.2"] if name == "sweep" else ["--rounds", "1", "--fresh-seeds", "2"]
    code, errors = failing(name, "line.py", *SHORT, *words, "--directory", "out")
    assert (code, errors) == (0, FULL + "All results are recorded.\n")
    assert (folder / "out" / last).exists()


@pytest.mark.parametrize(
    ("name", "words", "file"),
    [
        ("sweep", ["--learning-rate", "0.1,0.2"], "sweep.json"),
        pytest.param("study", ["--rounds", "1", "--fresh-seeds", "2"], "study.md", marks=pytest.mark.long),
    ],
)
def test_a_result_that_cannot_be_written_is_printed(here, folder, name, words, file):
    write = RunDirectory.write_text_file

    def failing(self, name, text):
        if name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, name, text)

    with mock.patch.object(RunDirectory, "write_text_file", failing):
        done = here(name, "line.py", *SHORT, *words, "--directory", "out")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "out could not be read or written ([Errno 28] No space left on device; the " in done.stderr
    assert "was printed only" in done.stderr and "r2" in done.stdout
    done = here("resume", "out")
    assert done.returncode == 0 and (folder / "out" / file).exists(), done.stderr


def test_what_is_printed_alone_fails_if_it_cannot_be_written(failing, here, folder):
    for directory in ("one", "two"):
        assert here("run", "line.py", *SHORT, "--directory", directory).returncode == 0
    assert failing("report", "one") == (0, FULL + "All results are recorded.\n")
    assert (folder / "one" / "report.html").exists()
    for words in (["--help"], ["list"], ["verify", "one"], ["compare", "one", "two"], ["run", "line.py", "--help"]):
        assert failing(*words) == (1, FULL + "Redirect it elsewhere.\n"), words
        assert failing(*words, number=errno.EPIPE) == (0, ""), words
    assert failing("run", "lines.py")[0] == 2  # a mistake still exits with 2


def test_an_error_that_cannot_be_printed_keeps_its_exit_code():
    with contextlib.redirect_stderr(Failing(errno.ENOSPC, 0)):
        assert main(["rum"]) == 2


def test_output_drops_what_follows_its_first_error():
    stream = Failing(errno.EPIPE, 1)
    out = output.Output(stream)
    assert [out.write("one\n"), out.write("two\n"), out.write("three\n")] == [4, 4, 6]
    assert stream.getvalue() == "one\n" and isinstance(out.error, BrokenPipeError)
    closed = output.Output(io.TextIOWrapper(io.BytesIO()))
    closed.close()
    closed.write("one\n")
    assert str(closed.error) == "I/O operation on closed file."


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", "epoch 1 | Stra\\xdfe\n"),
        ("latin-1", "epoch 1 · Straße\n"),
        ("utf-8", "epoch 1 · Straße\n"),
    ],
)
def test_output_loses_no_character_that_its_encoding_lacks(encoding, expected):
    content = io.BytesIO()
    out = output.Output(io.TextIOWrapper(content, encoding=encoding))
    out.write("epoch 1 · Straße\n")
    out.flush()
    assert content.getvalue().decode(encoding) == expected and out.error is None


def test_output_takes_a_path_that_is_not_utf8():
    content = io.BytesIO()
    out = output.Output(io.TextIOWrapper(content, encoding="utf-8"))
    out.write(f"run directory: {os.fsdecode(bytes([0x61, 0xFF]))}\n")
    out.flush()
    assert content.getvalue() == b"run directory: a\\udcff\n" and out.error is None


@pytest.mark.long
@pytest.mark.parametrize("redirected", ["| head -1", "> /dev/full", ">&-", ">&- 2>&-", "2> /dev/full | cat"])
def test_a_process_ends_as_if_its_output_were_read(folder, redirected):
    words = ["run", "line.py", *SHORT, "--directory", "out"]
    program = f'set -o pipefail; "$@" {redirected}'
    done = subprocess.run(
        ["bash", "-c", program, "bash", sys.executable, "-m", "jaxresearch", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 1, done.stderr
    assert (folder / "out" / "result.json").exists()

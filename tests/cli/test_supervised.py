"""What a supervisor makes of the lines and the exit code of its worker."""

import io

import pytest

from jaxresearch.cli import supervised


@pytest.mark.parametrize("words", [["run"], ["run", "--traceback"]])
def test_the_end_of_a_worker_is_one_line_with_its_exit_code(words, tmp_path, capsys):
    supervisor = supervised._Supervisor(words, tmp_path / "run", 60.0)
    traceback = "Traceback (most recent call last):\nValueError: seeds\n"
    supervisor._listen(io.StringIO(f"{traceback}jaxresearch: warning: slow\njaxresearch: seeds must be whole\n"))
    passed_on = traceback * ("--traceback" in words) + "jaxresearch: warning: slow\n"
    assert capsys.readouterr().err == passed_on
    assert supervisor._ended(2) == 2
    assert capsys.readouterr().err == "jaxresearch: seeds must be whole\n"

"""The command line: the only code that prints, and the one place where whole programs are put together.

JAX is imported only by the commands that compute, so that help answers at once.
"""

import sys
from pathlib import Path

from jaxresearch import __version__
from jaxresearch.cli.interrupts import EXIT_CODE, Interrupted, interruptible

_HELP = """\
usage: jaxresearch COMMAND ...

An experiment is a pure function, and everything else is a transformation of it.

commands:
  run EXPERIMENT    train over several seeds, evaluate, decide the claim; the run's directory keeps it all
  sweep EXPERIMENT  the same at many settings: --learning-rate 1e-4:1e-1:log:8 --batch-size 32,64; on validation data
  study EXPERIMENT  the research loop: adjust by itself on validation data, then decide the claim with fresh seeds
  resume DIR        go on with a run or study that was interrupted or killed, bit for bit
  report DIR        one self-contained page of a run that has ended: report.html
  compare DIR DIR.. several runs side by side, with differences in pairs of the same seed or fold; --page FILE as a page
  verify DIR        check every file of a run's checkpoints, and of what it began with, against its digest
  list              the experiments in ./experiments and what they ask

EXPERIMENT is a path to a .py file or the name of one in ./experiments.
`jaxresearch run EXPERIMENT --help` shows every option and hyperparameter, its type, default and meaning.
exit codes: 0 done, 1 failed, 2 usage, 75 interrupted, to be gone on with
"""

_RUN_HELP = """\
usage: jaxresearch run EXPERIMENT [--seeds N | --folds N] [--data SOURCE] [--target COLUMN] [--train-examples N]
                                  [--init-from DIR] [--directory DIR] [--smoke]
                                  [--FIELD VALUE ... any hyperparameter of the experiment]

`jaxresearch run EXPERIMENT --help` shows every option and hyperparameter; `jaxresearch list` the experiments.
"""

_SWEEP_HELP = """\
usage: jaxresearch sweep EXPERIMENT --FIELD low:high:n | low:high:log:n | A,B,C ... [the options of run]

Every combination is trained with every seed, and compared on data held out of the training part; the test part is not read.
Settings that differ in float fields alone share one program; each choice of the other fields has its own. The entries of a
tuple are joined by x: --hidden 64,128x64.
"""

_STUDY_HELP = """\
usage: jaxresearch study EXPERIMENT [--rounds N] [--seconds S] [--seeds N] [--fresh-seeds N] [--directory DIR]
                                    [--data SOURCE] [--target COLUMN] [--FIELD VALUE ... of the plain settings]

Starts from the plain settings and adjusts as the experiment declares, on validation data, until the claim is supported there,
nothing is left to try or the budget is spent. Then the test part is read, once: the best setting, fresh seeds, the verdict.
The same command on the same directory goes on after an interruption.
"""

_HELP_OF = {"run": _RUN_HELP, "sweep": _SWEEP_HELP, "study": _STUDY_HELP}
_OF_DIRECTORIES = ("resume", "report", "verify", "compare")
_COMMANDS = (*_HELP_OF, *_OF_DIRECTORIES, "list")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code of a command: 0 done, 1 failed, 2 usage, 75 interrupted.

    Args:
        argv: The words after ``jaxresearch``; those of this process unless given.

    Returns:
        The exit code. Mistakes of the user are told in one line on standard error.

    Example:
        >>> main(["rum"])
        2

    References:
        Aanand Prasad et al., Command Line Interface Guidelines. https://clig.dev
    """
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP, end="")
        return 0
    if words[0] == "--version":
        print(f"jaxresearch {__version__}")
        return 0
    command, rest = words[0], words[1:]
    if command in _COMMANDS:
        try:
            with interruptible():
                if command == "list":
                    return _list(rest)
                return _of_directories(command, rest) if command in _OF_DIRECTORIES else _computed(command, rest)
        except Interrupted:
            print("jaxresearch: interrupted before anything was recorded", file=sys.stderr)
            return EXIT_CODE
    import difflib

    near = difflib.get_close_matches(command, _COMMANDS, n=1)
    advice = f"Did you mean {near[0]!r}?" if near else "See jaxresearch --help."
    return _mistake(f"command must be one of {', '.join(_COMMANDS)}; got {command!r}. {advice}")


def _computed(command: str, words: list[str]) -> int:
    """Carries out a command that trains."""
    if not words or words[0] in ("-h", "--help"):
        print(_HELP_OF[command], end="")
        return 0 if words else 2
    if words[0].startswith("-"):
        return _mistake(
            f"the experiment must come first; got {words[0]!r}. Write: jaxresearch {command} EXPERIMENT {words[0]}"
        )
    import gc

    gc.disable()  # what is imported lives as long as the process: no need to search it for garbage, then or at the exit
    if command == "run":
        from jaxresearch.cli.run import run as carry_out
    elif command == "sweep":
        from jaxresearch.cli.sweep import sweep as carry_out
    else:
        from jaxresearch.cli.study import study as carry_out

    gc.freeze()
    gc.enable()
    return carry_out(words[0], words[1:])


def _of_directories(command: str, words: list[str]) -> int:
    """Carries out a command on the directory of a run, or on those of several."""
    asked, is_one = words[:1] in (["-h"], ["--help"]), command != "compare"
    if asked or not words or (is_one and len(words) != 1):
        usage = f"usage: jaxresearch {command} DIR{'' if is_one else ' DIR ... [--page FILE]'}"
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    if command == "compare":
        from jaxresearch.cli.compare import compare

        return compare(words)
    if command == "report":
        from jaxresearch.cli.report import report

        return report(Path(words[0]))
    from jaxresearch.cli import resume

    return getattr(resume, command)(Path(words[0]))


def _list(words: list[str]) -> int:
    """Prints the experiments and the first line of each, without running them."""
    import ast

    if words:
        return _mistake(f"list must stand alone; got {words[0]!r}. Write: jaxresearch list")
    paths = [path for path in sorted(Path("experiments").glob("*.py")) if not path.stem.startswith("_")]
    for path in paths:
        try:
            text = ast.get_docstring(ast.parse(path.read_text())) or "(no docstring)"
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            text = f"(unreadable: {error})"
        print(f"{path.stem:<20} {text.splitlines()[0]}")
    if not paths:
        print("no experiments in ./experiments")
    return 0


def _mistake(message: str) -> int:
    """Tells a mistake of the user in one line; returns the exit code for it."""
    print(f"jaxresearch: {message}", file=sys.stderr)
    return 2

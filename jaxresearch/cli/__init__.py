"""The command line: the only code that prints, and the one place where whole programs are put together.

JAX is imported only by the commands that compute, so that help answers at once.
"""

import sys
from pathlib import Path

from jaxresearch import __version__
from jaxresearch.cli import interrupts, output
from jaxresearch.cli.errors import CommandError, described
from jaxresearch.interruption import EXIT_CODE, Interrupted

_HELP = """\
usage: jaxresearch COMMAND ...

An experiment is a pure function, and everything else is a transformation of it.

commands:
  run EXPERIMENT    train over several seeds, evaluate, decide the claim; everything is recorded in the run's directory
  sweep EXPERIMENT  compare many settings on held-out data: --learning-rate 1e-4:1e-1:log:8 --batch-size 32,64
  study EXPERIMENT  the research loop: adjust on held-out data, then decide the claim with fresh seeds
  resume DIR        resume a run, sweep or study that was interrupted or killed, bit for bit; --experiment FILE takes a fixed file
  predict DIR DATA  predict for new rows with the models of a run, from its directory alone; --output FILE.csv, .npz or .npy
  export DIR --to F the models of a run as a file that other programs use: stablehlo or safetensors
  report DIR        write one self-contained page of a run that has ended: report.html
  compare DIR DIR.. show several runs side by side, with differences paired by seed or fold; --page FILE writes a page
  verify DIR        check every file of a run's checkpoints against its digest; --replay 100 repeats that many steps
  list              list the experiments that have a name, and their questions
  copy EXPERIMENT FILE  copy an experiment's file, to be changed
  new FILE          write an experiment for your own data: --for table, images, text, sequences or reinforcement

EXPERIMENT is a path to a .py file, the name of one in ./experiments, or that of one that comes with the package (mnist).
`jaxresearch run EXPERIMENT --help` shows every option and hyperparameter with its type, default and meaning.
--traceback after any command shows where an error was raised.
exit codes: 0 done, 1 failed, 2 usage, 75 interrupted (resumable)
"""

_RUN_HELP = """\
usage: jaxresearch run EXPERIMENT [--seeds N|A,B,C | --folds N] [--validation FRACTION|own] [--evaluate-every STEPS]
                                  [--data SOURCE] [--target COLUMN] [--train-examples N] [--init-from DIR]
                                  [--directory DIR] [--smoke] [--FIELD VALUE ... any hyperparameter of the experiment]

`jaxresearch run EXPERIMENT --help` shows every option and hyperparameter; `jaxresearch list` the experiments.
"""

_SWEEP_HELP = """\
usage: jaxresearch sweep EXPERIMENT --FIELD low:high:n | low:high:log:n | A,B,C ... [the options of run]

Every combination is trained with every seed and compared on data held out of the training part; the test part is not read.
Settings that differ in float fields alone share one program; each choice of the other fields has its own. The entries of a
tuple are joined by x: --hidden 64,128x64.
"""

_STUDY_HELP = """\
usage: jaxresearch study EXPERIMENT [--rounds N] [--seconds S] [--seeds N|A,B,C] [--fresh-seeds N|A,B,C] [--directory DIR]
                                    [--data SOURCE] [--target COLUMN] [--FIELD VALUE ... of the plain settings]

Starts from the plain settings and adjusts as the experiment declares, on held-out data, until the claim is supported there,
nothing is left to try or the budget is spent. Then the test part is read once: the best settings, fresh seeds, the verdict.
The same command on the same directory resumes after an interruption.
"""

_HELP_OF = {"run": _RUN_HELP, "sweep": _SWEEP_HELP, "study": _STUDY_HELP}
_OF_DIRECTORIES = ("resume", "report", "verify", "compare", "predict", "export")
_OPTIONS_OF = {
    "compare": " DIR ... [--margin X] [--page FILE]",
    "export": " --to stablehlo|safetensors [--output FILE] [--seeds A,B] [--encrypt-with FILE] [--experiment FILE]",
    "predict": " DATA [--output FILE] [--seeds A,B] [--encrypt-with FILE] [--experiment FILE] [--unfinished]",
    "report": " [--experiment FILE]",
    "resume": " [--experiment FILE]",
    "verify": " [--replay STEPS] [--experiment FILE]",
}
_OF_FILES = ("list", "copy", "new")
_RECORDING = (*_HELP_OF, "resume", "report")  # what they print is on disk as well
_COMMANDS = (*_HELP_OF, *_OF_DIRECTORIES, *_OF_FILES)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code of a command: 0 done, 1 failed, 2 usage, 75 interrupted.

    Args:
        argv: The words after ``jaxresearch``; those of this process unless given.

    Returns:
        The exit code. An error is one line on standard error; with ``--traceback``, its traceback comes first.

    Example:
        >>> main(["rum"])
        2
    """
    given = sys.argv[1:] if argv is None else argv
    with interrupts.ending(), output.lasting() as out:
        words = [word for word in given if word != "--traceback"] or ["--help"]
        code = _ended(words, shows_traceback="--traceback" in given)
        out.flush()
        if code == 0 and out.error is not None and not isinstance(out.error, BrokenPipeError):  # as of `| head`
            code = 0 if words[0] in _RECORDING and not {"-h", "--help"} & {*words} else 1
            print(f"jaxresearch: {_unwritten(out.error, is_recorded=code == 0)}", file=sys.stderr)
        if argv is None:
            interrupts.close(code)
    return code


def _ended(words: list[str], *, shows_traceback: bool) -> int:
    """Carries out a command and returns its exit code; whatever ends it is one line."""
    try:
        return _carried_out(words[0], words[1:])
    except SystemExit as exit:  # after the help of an experiment
        return exit.code if isinstance(exit.code, int) else 0
    except Interrupted:
        print(f"jaxresearch: {interrupts.NOTHING_RECORDED}", file=sys.stderr)
        return EXIT_CODE
    except Exception as error:
        if shows_traceback:
            import traceback

            traceback.print_exception(error.__cause__ or error if isinstance(error, CommandError) else error)
        print(f"jaxresearch: {error if isinstance(error, CommandError) else described(error)}", file=sys.stderr)
        return error.code if isinstance(error, CommandError) else 1


def _unwritten(error: Exception, *, is_recorded: bool) -> str:
    """Returns why standard output is not whole, and whether anything is lost."""
    reason = getattr(error, "strerror", None) or error
    lost = "All that was computed is recorded." if is_recorded else "Redirect it elsewhere."
    return f"standard output could not be written ({reason}). {lost}"


def _carried_out(command: str, words: list[str]) -> int:
    """Carries out a command."""
    if command in ("-h", "--help", "help"):
        print(_HELP, end="")
        return 0
    if command == "--version":
        print(f"jaxresearch {__version__}")
        return 0
    if command in _OF_FILES:
        return _of_files(command, words)
    if command in _OF_DIRECTORIES:
        return _of_directories(command, words)
    if command in _HELP_OF:
        return _computed(command, words)
    import difflib

    near = difflib.get_close_matches(command, _COMMANDS, n=1)
    advice = f"Did you mean {near[0]!r}?" if near else "See jaxresearch --help."
    raise CommandError(f"command must be one of {', '.join(_COMMANDS)}, got {command!r}. {advice}", code=2)


def _of_files(command: str, words: list[str]) -> int:
    """Carries out a command that needs no JAX."""
    from jaxresearch.cli.begin import begin, help_of

    if words[:1] in (["-h"], ["--help"]):
        print(help_of(command), end="")
        return 0
    return begin(command, words)


def _computed(command: str, words: list[str]) -> int:
    """Carries out a command that trains."""
    if not words or words[0] in ("-h", "--help"):
        print(_HELP_OF[command], end="")
        return 0 if words else 2
    if words[0].startswith("-"):
        advice = f"Write: jaxresearch {command} EXPERIMENT {words[0]}"
        raise CommandError(f"the experiment must come first, got {words[0]!r}. {advice}", code=2)
    import gc

    gc.disable()  # imports live as long as the process: searching them for garbage, now or at the exit, is in vain
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
    """Carries out a command on the directory of one run or of several."""
    asked = words[:1] in (["-h"], ["--help"])
    takes_file = command in ("resume", "report") and len(words) == 3 and words[1] == "--experiment"
    experiment = words[2] if takes_file else None
    is_one = experiment is None and command not in ("compare", "export", "predict", "verify")
    if asked or not words or (is_one and len(words) != 1):
        usage = f"usage: jaxresearch {command} DIR{_OPTIONS_OF.get(command, '')}"
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    if command == "compare":
        from jaxresearch.cli.compare import compare

        return compare(words)
    if command == "predict":
        from jaxresearch.cli.predict import predict

        return predict(words)
    if command == "export":
        from jaxresearch.cli.export import export

        return export(words)
    if command == "report":
        from jaxresearch.cli.report import report

        return report(Path(words[0]), experiment)
    if command == "verify":
        from jaxresearch.cli.replay import verify

        return verify(words)
    from jaxresearch.cli.resume import resume

    return resume(Path(words[0]), experiment)

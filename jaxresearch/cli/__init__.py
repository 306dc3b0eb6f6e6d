"""The command line: the only code that prints, and the only place that assembles whole programs.

Only commands that compute import JAX, so help is immediate.
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
  run EXPERIMENT    train with several seeds, evaluate, decide the claim; everything is recorded in a run directory
  sweep EXPERIMENT  compare many settings on selection data: --learning-rate 1e-4:1e-1:log:8 --batch-size 32,64
  study EXPERIMENT  the research loop: adjust on selection data, then decide the claim with fresh seeds
  audit EXPERIMENT  attack private runs, and compare the bound of epsilon that they show with the claim: --private epsilon=8,...
  summary EXPERIMENT  list the arrays of its training state and count the FLOPs of a step
  plan EXPERIMENT   what a training step needs on devices that you need not have: --mesh fsdp=64,tensor=4 --chip v5p
  resume DIR        resume an interrupted or killed run, sweep or study, bit for bit; --experiment FILE uses a fixed file
  predict DIR DATA  predict new rows with the models of a run, from its directory alone; --output FILE.csv, .npz or .npy
  export DIR --to F write the models of a run to a file for other programs: stablehlo or safetensors
  report DIR        write a self-contained page of a finished run or study: report.html
  explain DIR       add to the report what predictions rest on: maps, columns, training examples, attacks; explain.json
  compare DIR DIR.. show runs side by side, with differences paired by seed or fold; --page FILE writes a page
  verify DIR        check every checkpoint file of a run against its digest; --replay 100 repeats the first 100 steps
  anonymise TABLE   generalise a table so that every row is one of k alike: --quasi age,zip --k 5 --output FILE.csv
  list              list the named experiments and their questions
  copy EXPERIMENT FILE  copy an experiment's file for you to edit
  new FILE          write an experiment for your own data: --for table, images, text, sequences or reinforcement

EXPERIMENT is a path to a .py file, or the name of an experiment in ./experiments or in the package (such as mnist).
`jaxresearch run EXPERIMENT --help` shows every option and hyperparameter with its type, default and meaning.
--traceback after any command prints the traceback of an error.
exit codes: 0 done, 1 failed, 2 usage, 75 interrupted (resumable)
"""

_RUN_HELP = """\
usage: jaxresearch run EXPERIMENT [--seeds N|A,B,C | --folds N] [--validation FRACTION|own] [--evaluate-every STEPS]
                                  [--data SOURCE] [--target COLUMN] [--train-examples N] [--init-from DIR]
                                  [--directory DIR] [--smoke] [--FIELD VALUE ... any hyperparameter of the experiment]

`jaxresearch run EXPERIMENT --help` shows every option and hyperparameter; `jaxresearch list` shows the experiments.
"""

_SWEEP_HELP = """\
usage: jaxresearch sweep EXPERIMENT --FIELD low:high:n | low:high:log:n | A,B,C ... [the options of run]

Trains every combination with every seed and compares them on selection data, held out of the training part; the test part is
not read.
Settings that differ only in float fields share a program; each choice of the other fields has its own. Write the entries of a
tuple with x between them: --hidden 64,128x64.
"""

_STUDY_HELP = """\
usage: jaxresearch study EXPERIMENT [--rounds N] [--seconds S] [--seeds N|A,B,C] [--fresh-seeds N|A,B,C] [--directory DIR]
                                    [--data SOURCE] [--target COLUMN] [--FIELD VALUE ... of the baseline]

Starts from the baseline (the default settings, with the changes made here) and adjusts it as the experiment declares, on
selection data held out of the training part, until the claim is supported there, nothing is left to try or the budget is spent.
Then it reads the test part once: the best settings with fresh seeds decide the claim. After an interruption, repeat the command
with the same directory to resume.
"""

_AUDIT_HELP = """\
usage: jaxresearch audit EXPERIMENT --private epsilon=E,delta=D,clip=C [--runs N] [--canaries N] [--guesses N]
                                    [--observe states|final] [--audit-seed N] [--directory DIR]
                                    [--data SOURCE] [--target COLUMN] [--FIELD VALUE ...]

Trains private runs with a canary among the examples and without it, guesses which is which, and prints the lower bound of
epsilon that the guesses prove, beside the claim; then the same from one run with many canaries. audit.json, audit.npz and
audit.png record it. The exit code is 1 if a bound exceeds the claim.
"""

_SUMMARY_HELP = """\
usage: jaxresearch summary EXPERIMENT [--data SOURCE] [--target COLUMN] [--accumulate N] [--FIELD VALUE ...]

Lists the arrays of the training state with their shapes, types and bytes, with totals for parameters, model state and optimizer
state, and counts the FLOPs of a step. Nothing is trained.
"""

_PLAN_HELP = """\
usage: jaxresearch plan EXPERIMENT [--mesh AXIS=N,...] [--chip CHIP] [--hbm SIZE] [--topology CHIP:SHAPE] [--largest-batch]
                                   [--data SOURCE] [--target COLUMN] [--accumulate N] [--FIELD VALUE ...]

Compiles one training step for devices that you need not have, and prints what each needs: memory, FLOPs, communication, and the
least time at the peaks of a chip. --topology v5e:4x4 compiles with the compiler of TPUs, otherwise that of CPUs does it.
--largest-batch finds the largest batch that fits. The exit code is 1 if the step does not fit into the memory.
"""

_HELP_OF = {"run": _RUN_HELP, "sweep": _SWEEP_HELP, "study": _STUDY_HELP, "audit": _AUDIT_HELP}
_HELP_OF_SHAPES = {"summary": _SUMMARY_HELP, "plan": _PLAN_HELP}
_OF_DIRECTORIES = ("resume", "report", "verify", "compare", "predict", "export", "explain")
_OF_TABLES = ("anonymise",)
_OPTIONS_OF = {
    "anonymise": (
        " --quasi COLUMN,.. --k K --output FILE.csv\n"
        "                                   [--unit COLUMN] [--sensitive COLUMN [--l L] [--diversity distinct|entropy]]\n"
        "                                   [--numbers range|mean] [--hierarchy COLUMN=FILE,..] [--types COLUMN=KIND,..]\n"
        "                                   [--pseudonym COLUMN,.. --key-file FILE | --key-env NAME] [--drop COLUMN,..]\n"
        "                                   [--report FILE.json]"
    ),
    "compare": " DIR ... [--margin X] [--page FILE]",
    "explain": (
        " [--method NAME] [--examples N] [--influence exact|tracin|none]\n"
        "                               [--target CLASS] [--layer NAME] [--baseline X] [--seed N] [--experiment FILE]"
    ),
    "export": " --to stablehlo|safetensors [--output FILE] [--seeds A,B] [--encrypt-with FILE] [--experiment FILE]",
    "predict": " DATA [--output FILE] [--seeds A,B] [--encrypt-with FILE] [--experiment FILE] [--unfinished]",
    "report": " [--experiment FILE]",
    "resume": " [--experiment FILE]",
    "verify": " [--replay STEPS] [--experiment FILE]",
}
_MEANING_OF = {
    "anonymise": """\
Generalises the quasi-identifiers, what others may know about a person, until each combination occurs at least K times, and keeps
all rows, sorted. If a person has several rows, --unit COLUMN counts the values of that column, not rows. --sensitive COLUMN --l L
also asks for L distinct values of that column in each class of equal rows; --diversity entropy counts rare values less.
--numbers mean writes the mean of a class in place of its range. --hierarchy replaces the values of a column by their ancestors:
a table of the values and, to the right, their ancestors, the nearest first.
--pseudonym replaces the cells of columns by HMAC-SHA256 under a secret key of at least 32 bytes; --drop leaves columns out.
Prints what could still single a row out; --report also writes it to a file. No file is overwritten.
""",
    "compare": """\
Shows runs side by side: settings that differ, metrics, and differences from the first run, paired by seed or fold.
--margin X marks differences within X as equivalent; --page FILE writes an HTML page.
""",
    "explain": """\
Explains the models of a finished run on its test part: explain.json, and a section of report.html.
Images, tokens and DNA are coloured by what each pixel or position contributes, for N test examples, half of them mistakes;
--method: integrated_gradients, saliency, input_x_gradient, smoothgrad, occlusion or grad_cam. For tables, the importance of each
column with an interval over seeds; --method: permutation_importance or shapley_values.
--influence traces the gravest mistakes to training examples: exact through every step of the run, or tracin by the gradients at
its checkpoints; by default exact where that is fast. A curve shows the accuracy under attacks (PGD) of growing size.
--target explains this class instead of the predicted one; --layer names the embeddings of tokens, or the convolution that
grad_cam reads; --baseline is an input without information: a number, a token or a .npy file. --seed draws examples and attacks.
""",
    "export": """\
Writes the models of a run for other programs: a function of arrays for any XLA device (stablehlo), or the weights
(safetensors). FILE.json beside it describes the file. --seeds exports only these models.
""",
    "predict": """\
Predicts the rows of DATA, a file like the training data, with the ensemble of a run's models; the target column may be absent.
Without --output FILE.csv, .npz or .npy, a table is printed. --seeds uses only these models; --unfinished takes the newest
checkpoint of a run that has not finished.
""",
    "report": """\
Writes report.html into the directory of a finished run or study: one self-contained page with its data, metrics, plots, errors
and environment.
""",
    "resume": """\
Resumes an interrupted or killed run, sweep or study from its newest checkpoint; the result is the same bit for bit.
--experiment FILE uses this file, such as a fixed one, in place of the experiment's own.
""",
    "verify": """\
Checks every checkpoint file of a run against its SHA-256 digest. --replay STEPS also repeats the first steps of the run and
compares their metrics with the record, bit for bit. The exit code is 1 if anything differs.
""",
}
_OF_FILES = ("list", "copy", "new")
_RECORDING = (*_HELP_OF, "resume", "report", "explain")  # their output is on disk as well
_COMMANDS = (*_HELP_OF, *_HELP_OF_SHAPES, *_OF_DIRECTORIES, *_OF_TABLES, *_OF_FILES)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code of a command: 0 done, 1 failed, 2 usage, 75 interrupted.

    Args:
        argv: The words after ``jaxresearch``; those of this process by default.

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
    """Carries out a command and returns its exit code; an error or interruption prints one line."""
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
    """Returns why standard output is incomplete, and whether anything is lost."""
    reason = getattr(error, "strerror", None) or error
    lost = "All results are recorded." if is_recorded else "Redirect it elsewhere."
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
    if command in _OF_TABLES:
        return _of_tables(command, words)
    if command in _HELP_OF or command in _HELP_OF_SHAPES:
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


def _explained(command: str, what: str, *, wants_help: bool) -> int:
    """Prints the help of a command on something, or its usage alone as an error; returns the exit code."""
    usage = f"usage: jaxresearch {command} {what}{_OPTIONS_OF.get(command, '')}"
    print(f"{usage}\n\n{_MEANING_OF[command]}", end="") if wants_help else print(usage, file=sys.stderr)
    return 0 if wants_help else 2


def _of_tables(command: str, words: list[str]) -> int:
    """Carries out a command on a table."""
    wants_help = bool({"-h", "--help"} & {*words})
    if wants_help or not words:
        return _explained(command, "TABLE", wants_help=wants_help)
    from jaxresearch.cli.anonymise import anonymise

    return anonymise(words)


def _computed(command: str, words: list[str]) -> int:
    """Carries out a command that trains, or compiles a step."""
    if not words or words[0] in ("-h", "--help"):
        print({**_HELP_OF, **_HELP_OF_SHAPES}[command], end="")
        return 0 if words else 2
    if words[0].startswith("-"):
        advice = f"Write: jaxresearch {command} EXPERIMENT {words[0]}"
        raise CommandError(f"the experiment must come first, got {words[0]!r}. {advice}", code=2)
    from jaxresearch import catalogue

    if not catalogue.file_of(words[0]).is_file():  # before JAX is imported, which takes seconds
        raise CommandError(catalogue.missing(words[0]), code=2)
    from jaxresearch.cli import supervised

    if supervised.is_asked(command, words):
        return supervised.supervise([command, *words])
    import gc

    gc.disable()  # imports live as long as the process: collecting garbage among them only costs time
    if command == "run":
        from jaxresearch.cli.run import run as carry_out
    elif command == "sweep":
        from jaxresearch.cli.sweep import sweep as carry_out
    elif command == "audit":
        from jaxresearch.cli.audit import audit as carry_out
    elif command == "summary":
        from jaxresearch.cli.summary import summary as carry_out
    elif command == "plan":
        from jaxresearch.cli.plan import plan as carry_out
    else:
        from jaxresearch.cli.study import study as carry_out

    if not gc.get_freeze_count():  # a second command in one process would keep what the first left
        gc.freeze()
    gc.enable()
    return carry_out(words[0], words[1:])


def _of_directories(command: str, words: list[str]) -> int:
    """Carries out a command on the directory of one run or of several."""
    wants_help = words[:1] in (["-h"], ["--help"])
    takes_file = command in ("resume", "report") and len(words) == 3 and words[1] == "--experiment"
    experiment = words[2] if takes_file else None
    is_one = experiment is None and command in ("resume", "report")
    if wants_help or not words or (is_one and len(words) != 1):
        return _explained(command, "DIR", wants_help=wants_help)
    is_alone = command in ("resume", "report", "explain", "verify") and len(words) == 1 and not words[0].startswith("-")
    if is_alone and not Path(words[0]).exists():  # before JAX is imported, which takes seconds
        raise CommandError(f"{words[0]} does not exist. Correct the path.", code=2)
    if command == "compare":
        from jaxresearch.cli.compare import compare

        return compare(words)
    if command == "predict":
        from jaxresearch.cli.predict import predict

        return predict(words)
    if command == "explain":
        from jaxresearch.cli.explain import explain

        return explain(words)
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

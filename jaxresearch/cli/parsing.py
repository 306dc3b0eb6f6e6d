"""The words of a command line -> the options of a command."""

import contextlib
import dataclasses
import difflib
import io
import typing
from typing import Annotated, Any

import tyro

from jaxresearch.cli.axes import spelled
from jaxresearch.cli.checks import MANY_SEEDS, check_options
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.options import DECLARED, Options, names_of, private_default
from jaxresearch.cli.refusals import Fields, explained
from jaxresearch.cli.spelling import seeds_text
from jaxresearch.data.files.databases import require_no_password
from jaxresearch.experiment import Experiment
from jaxresearch.records.commands import flag, value_text


def parse(experiment: Experiment, words: list[str], *, command: str = "run", prog: str | None = None) -> Options:
    """Returns the options of a command line, with defaults and the experiment's own values for the rest.

    In a sweep, a value with colons is a range, ``low:high:n`` or ``low:high:log:n``, of a float field. A value with commas is a
    list, in which x joins the entries of a tuple (``--hidden 64,128x64``). `jaxresearch.cli.axes` has all spellings.

    Args:
        experiment: Has the hyperparameters and the default data source.
        words: The command line after the name of the experiment.
        command: run, sweep or study.
        prog: The command's name in its help.

    Returns:
        The options, with explicit seeds.

    Raises:
        UsageError: If a word is unknown, a value has the wrong type or range, or options are mutually exclusive.
        SystemExit: After printing help.

    Example:
        See ``jaxresearch run mnist --help``.
    """
    _refuse_clash(experiment)
    for name, example in (("types", "age=number,id=drop"), ("parameters", "year=2020,clinic=north")):
        if sum(word.split("=", 1)[0] == flag(name) for word in words) > 1:
            raise UsageError(f"{name} must be given once, got it twice. Write all together: {flag(name)} {example}")
    prog = prog or f"jaxresearch {command}"
    kinds = typing.get_type_hints(type(experiment.hyperparameters))
    words, axes = spelled(
        kinds, words, prog=prog, read=lambda name, given: _values(experiment, given, command, prog)[name]
    )
    values = _values(experiment, words, command, prog)
    if command == "sweep" and not axes and "--help" not in words:
        raise UsageError(
            "a sweep must vary at least one hyperparameter, got none. Write: --learning-rate 1e-4:1e-1:log:8"
        )
    return _resolved(experiment, values, axes, command, words)


def _resolved(
    experiment: Experiment, values: dict[str, Any], axes: dict[str, list[Any]], command: str, words: list[str]
) -> Options:
    """Returns the checked options with these values. Only here, a number of seeds becomes a list of seeds."""
    names = [field.name for field in dataclasses.fields(experiment.hyperparameters)]
    chosen = dataclasses.replace(experiment.hyperparameters, **{name: values.pop(name) for name in names})
    given = {name: values.get(name, _default(experiment, name, command)) for name in DECLARED}
    folds = given["folds"]
    if folds < 0 or folds == 1:
        raise UsageError(f"folds must be 2 or more, or 0 for none, got {folds}. Pass --folds 10.")
    if folds and any(word.split("=", 1)[0] == "--seeds" for word in words):
        raise UsageError(f"seeds and folds are mutually exclusive, got both. Run i of --folds {folds} has seed i.")
    given["types"] = tuple(({**(experiment.types or {}), **dict(given["types"])}).items())
    given["seeds"] = _seeds("seeds", folds or given["seeds"])
    given["fresh_seeds"] = _seeds("fresh_seeds", given["fresh_seeds"], first=max(given["seeds"]) + 1)
    if common := sorted({*given["seeds"]} & {*given["fresh_seeds"]}) if command == "study" else []:
        raise UsageError(f"fresh_seeds must not be among seeds, got {common[0]} in both. Pass others.")
    if given["data"] is not None:
        require_no_password(given["data"])
    if experiment.source is None and given["data"] is not None:
        raise UsageError(f"data must be left out, got {given['data']}: the experiment needs none.")
    options = Options(**given, command=command, hyperparameters=chosen, axes=axes)
    check_options(options, is_private_declared=options.private == private_default(experiment))
    return options


def _seeds(name: str, given: int | tuple[int, ...], *, first: int = 0) -> tuple[int, ...]:
    """Returns the seeds of a list, or as many seeds as given from the first one on."""
    seeds = tuple(range(first, first + given)) if isinstance(given, int) else given
    if not seeds:
        raise UsageError(f"{name} must be 1 or more, got {given}. Pass {flag(name)} 10 for a narrow interval.")
    wrong = next((seed for seed in seeds if not 0 <= seed < MANY_SEEDS), None)
    if wrong is not None:
        raise UsageError(
            f"{name} must be between 0 and {MANY_SEEDS - 1}, got {wrong}. Pass {flag(name)} 10 for 0 to 9."
        )
    if len({*seeds}) < len(seeds):
        raise UsageError(f"{name} must be distinct, got {seeds_text(seeds)}. Write each once.")
    return seeds


def _default(experiment: Experiment, name: str, command: str) -> Any:
    """Returns the default of an option."""
    if name in ("data", "target"):
        return experiment.source if name == "data" else experiment.target
    if name == "types":
        return tuple((experiment.types or {}).items())
    if name == "private" and command in DECLARED[name].metadata["commands"]:
        return private_default(experiment)
    metadata = DECLARED[name].metadata
    return metadata["defaults"].get(command, metadata["default"])


def _refuse_clash(experiment: Experiment) -> None:
    """Raises if a hyperparameter has the same name as an option."""
    for field in dataclasses.fields(experiment.hyperparameters):
        if field.name in DECLARED:
            raise UsageError(f"hyperparameters must not be named like options, got {field.name!r}. Rename it.")


def _values(experiment: Experiment, words: list[str], command: str, prog: str) -> dict[str, Any]:
    """Returns the value of each option and hyperparameter; prints help on ``--help``."""
    kinds = typing.get_type_hints(Options, include_extras=True)
    fields: Fields = {name: _field(kinds[name], experiment, name, command) for name in names_of(command)}
    fields |= _hyperparameter_fields(experiment)
    _refuse_unknown(words, fields, command)
    made = dataclasses.make_dataclass(
        "Words",
        [(name, Annotated[kind, tyro.conf.arg(help=help)], default) for name, (kind, default, help) in fields.items()],
        kw_only=True,
    )
    # The help opens with the docstring, which would otherwise be the signature generated by dataclasses.
    made.__doc__ = experiment.question
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return vars(tyro.cli(made, args=words, prog=prog, config=(tyro.conf.OmitArgPrefixes,)))
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        raise UsageError(explained(stderr.getvalue(), words, fields)) from None


def _field(kind: Any, experiment: Experiment, name: str, command: str) -> tuple[Any, Any, str]:
    """Returns type, default and help of an option."""
    metadata, default = DECLARED[name].metadata, _default(experiment, name, command)
    # "(default: None)" and the like say nothing that the help does not.
    hint = "" if default is None or default is False or default == () else None
    return (
        Annotated[kind, tyro.conf.arg(metavar=metadata["metavar"], help_behavior_hint=hint)],
        default,
        metadata["help"],
    )


def _hyperparameter_fields(experiment: Experiment) -> Fields:
    """Returns type, default and help of each hyperparameter."""
    types = typing.get_type_hints(type(experiment.hyperparameters))
    fields = {}
    for field in dataclasses.fields(experiment.hyperparameters):
        kind, default = types[field.name], getattr(experiment.hyperparameters, field.name)
        if typing.get_origin(kind) is tuple:
            hint = f"(default: {value_text(default)})"
            kind = Annotated[kind, tyro.conf.arg(help_behavior_hint=hint)]
        fields[field.name] = kind, default, field.metadata.get("help", "")
    return fields


def _refuse_unknown(words: list[str], fields: Fields, command: str) -> None:
    """Raises for the first option that does not exist, with the nearest name."""
    names = [*fields, *(f"no_{name}" for name, (kind, _, _) in fields.items() if kind is bool), "help", "traceback"]
    known = [flag(name) for name in names]
    for word in words:
        written = word.split("=", 1)[0].replace("_", "-")
        if written.startswith("-") and f"-{written}" in known:
            raise UsageError(f"{command} has no option {written}. Write -{written}.")
        if not word.startswith("--") or written in known:
            continue
        elsewhere = next((name for name in DECLARED if flag(name) == written), None)
        if elsewhere is not None:
            *others, last = DECLARED[elsewhere].metadata["commands"]
            owners = f"{', '.join(others)} and {last}" if others else last
            raise UsageError(f"{command} has no option {written}, which belongs to {owners}. Leave it out.")
        near = difflib.get_close_matches(written.lstrip("-"), [option[2:] for option in known], n=1)
        own = ", ".join(flag(name) for name in fields if name not in DECLARED)
        advice = f"Did you mean --{near[0]}?" if near else f"The hyperparameters are {own}; --help shows all options."
        raise UsageError(f"{command} has no option {written}. {advice}")

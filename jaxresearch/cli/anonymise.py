"""``jaxresearch anonymise TABLE``: a table for others to read, and what could still single a row out."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxresearch import catalogue, records
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.flags import require_known, taken
from jaxresearch.cli.models import file_in_folder
from jaxresearch.cli.session import one_line
from jaxresearch.data.files.tables import TABLES, Table, is_table, read_table
from jaxresearch.privacy import anonymity
from jaxresearch.privacy.anonymity.anonymised import require_columns
from jaxresearch.privacy.anonymity.attributes import words_of
from jaxresearch.privacy.anonymity.digests import require_key

_OPTIONS = {  # what follows each, and an example
    "--quasi": ("columns", "age,zip"),
    "--k": ("a number", "5"),
    "--unit": ("a column", "patient_id"),
    "--output": ("a file", "anonymous.csv"),
    "--sensitive": ("a column", "diagnosis"),
    "--l": ("a number", "2"),
    "--diversity": ("a choice", "entropy"),
    "--numbers": ("a choice", "mean"),
    "--hierarchy": ("columns and files", "zip=zip_levels.csv"),
    "--types": ("columns and kinds", "zip=category"),
    "--pseudonym": ("columns", "patient_id"),
    "--key-file": ("a key file", "KEYFILE"),
    "--key-env": ("a variable", "KEY"),
    "--drop": ("columns", "name"),
    "--report": ("a file", "report.json"),
}
_SHOWN_PAIRS = 3
_CAVEAT = (
    "k-anonymity is not differential privacy: it does not protect against anyone who knows more about a person than the "
    "quasi-identifiers, or who compares several tables of the same people."
)


class Asked(NamedTuple):
    """The options of the command."""

    quasi: tuple[str, ...]
    k: int
    unit: str | None
    sensitive: str | None
    l_diversity: int | float
    diversity: Any
    numbers: Any
    hierarchies: dict[str, str]
    types: dict[str, str]
    pseudonyms: tuple[str, ...]
    key: bytes | None
    dropped: tuple[str, ...]
    output: Path
    report: Path | None


def anonymise(words: list[str]) -> int:
    """Carries out ``jaxresearch anonymise WORDS...``; returns the exit code."""
    with one_line(words[0], code=2):
        rest = list(words)
        given = {option: taken(rest, option, *described) for option, described in _OPTIONS.items()}
        require_known("anonymise", rest, ", ".join(_OPTIONS))
        if len(rest) != 1:
            raise UsageError(
                f"anonymise needs one table, got {' '.join(rest) or 'none'}. Write: jaxresearch anonymise TABLE --quasi age --k 5"
            )
        asked = _asked(given)
        table = _read(Path(rest[0]))
        made = _anonymised(table, asked)
        risks = _risks(table, asked, made)
        content = records.written_table(made.table)
        _write(asked, content, _report(asked, made, risks, content))
    for line in (*table.notes, *_lines(asked, made, risks)):
        print(line)
    print(f"anonymised table: {asked.output}")
    if asked.report is not None:
        print(f"report: {asked.report}")
    return 0


def _asked(given: Mapping[str, str | None]) -> Asked:
    """Returns the options, from the text of each."""
    quasi, pseudonyms = _columns(given, "--quasi"), _columns(given, "--pseudonym")
    if not quasi:
        raise UsageError("--quasi must name the columns that others may know, got none. Write: --quasi age,zip")
    k, report = given["--k"], given["--report"]
    if k is None or not k.isdecimal():
        raise UsageError(f"--k must be a whole number from 2, got {k or 'none'}. Write: --k 5")
    if given["--l"] is not None and given["--sensitive"] is None:
        raise UsageError("--l needs a sensitive column, got none. Write: --sensitive COLUMN --l 2")
    return Asked(
        quasi=quasi,
        k=int(k),
        unit=given["--unit"],
        sensitive=given["--sensitive"],
        l_diversity=_number(given["--l"] or "1"),
        diversity=_choice(given, "--diversity", ("distinct", "entropy")),
        numbers=_choice(given, "--numbers", ("range", "mean")),
        hierarchies=_pairs(given, "--hierarchy"),
        types=_pairs(given, "--types"),
        pseudonyms=pseudonyms,
        key=_key(pseudonyms, given["--key-file"], given["--key-env"]),
        dropped=_columns(given, "--drop"),
        output=_output(given["--output"]),
        report=None if report is None else _report_file(report, given["--output"]),
    )


def _columns(given: Mapping[str, str | None], option: str) -> tuple[str, ...]:
    """Returns the columns that an option names; quotes keep a comma in a name."""
    names = next(csv.reader([given[option] or ""]), [])
    return tuple(name.strip() for name in names if name.strip())


def _pairs(given: Mapping[str, str | None], option: str) -> dict[str, str]:
    """Returns what an option sets for columns."""
    pairs = [word.rpartition("=") for word in _columns(given, option)]
    if wrong := next((pair for pair in pairs if not pair[0] or not pair[2]), None):
        example = _OPTIONS[option][1]
        raise UsageError(f"{option} must be pairs with = between them, got {''.join(wrong)}. Write: {option} {example}")
    return {name: value for name, _, value in pairs}


def _choice(given: Mapping[str, str | None], option: str, choices: tuple[str, str]) -> str:
    """Returns one of two choices, by default the first."""
    choice = given[option] or choices[0]
    if choice not in choices:
        raise UsageError(f"{option} must be {' or '.join(choices)}, got {choice}. {catalogue.nearest(choice, choices)}")
    return choice


def _number(text: str) -> int | float:
    """Returns l, which entropy may compare with a fraction."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise UsageError(f"--l must be a number from 1, got {text}. Write: --l 2") from None


def _key(pseudonyms: Sequence[str], key_file: str | None, key_env: str | None) -> bytes | None:
    """Returns the secret key of the pseudonyms; None if there are none."""
    if (key_file is None) == (key_env is None) if pseudonyms else (key_file or key_env):
        rule = "--pseudonym needs a key, and a key needs --pseudonym"
        given = "two keys" if key_file and key_env else "one without the other"
        raise UsageError(f"{rule}, got {given}. Write: --pseudonym COLUMN --key-file KEYFILE")
    if key_env is not None:
        if key_env not in os.environ:  # the message does not repeat the word, which may be the key itself
            raise UsageError(
                "--key-env must name an environment variable that is set, got a name that is not set. Pass --key-file KEYFILE."
            )
        require_key(key := os.environ[key_env].encode(), source=f"environment variable {key_env}")
        return key
    if key_file is None:
        return None
    try:
        key = Path(key_file).read_bytes()
    except OSError as error:
        raise UsageError(
            f"--key-file must name a readable file, got {key_file} ({error.strerror}). "
            "Create one: head -c 32 /dev/urandom > KEYFILE"
        ) from error
    require_key(key, source=f"key file {key_file}")
    return key


def _output(output: str | None) -> Path:
    """Returns the table to write, after checking its suffix and its folder."""
    if output is None or Path(output).suffix.lower() != ".csv":
        raise UsageError(f"--output must end in .csv, got {output or 'none'}. Write: --output anonymous.csv")
    return file_in_folder(output)


def _report_file(report: str, output: str | None) -> Path:
    """Returns the report to write, after checking that it is another file than the table."""
    if output is not None and Path(report).resolve() == Path(output).resolve():
        raise UsageError(
            f"--report must name another file than --output, got {report} twice. Write: --report report.json"
        )
    return file_in_folder(report, option="--report")


def _read(path: Path, *, what: str = "table") -> Table:
    """Returns a table, after checking its path."""
    if not path.is_file():
        raise UsageError(f"{what} must be a file that exists, got {path}. {catalogue.path_advice(path)}")
    if not is_table(str(path)):
        raise UsageError(f"{what} must end in {TABLES}, got {path}. Save it in one of these formats.")
    return read_table(path)


def _anonymised(table: Table, asked: Asked) -> anonymity.Anonymised:
    """Returns the table without dropped columns, with pseudonyms, generalised."""
    roles = {"--quasi": asked.quasi, "--sensitive": (asked.sensitive,), "--pseudonym": asked.pseudonyms}
    for option, names in (*roles.items(), ("--drop", asked.dropped)):
        require_columns(option, names, table.columns)
    _require_one_role({**roles, "--drop": asked.dropped})
    require_columns("--unit", [asked.unit], table.columns)
    columns = {name: words_of(cells) for name, cells in table.columns.items() if name not in asked.dropped}
    if asked.key is not None:
        columns |= {name: anonymity.pseudonyms(columns[name], asked.key) for name in asked.pseudonyms}
    return anonymity.anonymise(
        columns,
        quasi=asked.quasi,
        k=asked.k,
        units=None if asked.unit is None else words_of(table.columns[asked.unit]),
        sensitive=asked.sensitive,
        l_diversity=asked.l_diversity,
        diversity=asked.diversity,
        numbers=asked.numbers,
        hierarchies={name: _hierarchy(name, Path(file)) for name, file in asked.hierarchies.items()},
        types=asked.types,
        separator=table.separator or ",",
    )


def _risks(table: Table, asked: Asked, made: anonymity.Anonymised) -> anonymity.Identifiability:
    """Returns what could still single rows out; a column of units that is written links rows, whatever its values."""
    roles: dict[str, Any] = {"quasi": asked.quasi, "sensitive": asked.sensitive, "pseudonyms": asked.pseudonyms}
    if asked.unit is None:
        return anonymity.identifiability(made.table, **roles)
    words = words_of(table.columns[asked.unit])
    found = anonymity.identifiability(made.table, **roles, units=[words[row] for row in made.rows])
    is_written = asked.unit in made.table and asked.unit not in asked.quasi
    return found._replace(linked={asked.unit: found.units, **found.linked}) if is_written else found


def _require_one_role(roles: Mapping[str, Sequence[str | None]]) -> None:
    """Raises for a column that several options name."""
    first: dict[str, str] = {}
    for option, names in roles.items():
        for name in names:
            if name is not None and first.setdefault(name, option) != option:
                raise UsageError(
                    f"a column must have one role, got {name} in {first[name]} and {option}. Leave one out."
                )


def _hierarchy(name: str, path: Path) -> dict[str, list[str]]:
    """Returns the ancestors of each value: the columns to the right of the first."""
    value, *ancestors = (words_of(cells) for cells in _read(path, what=f"--hierarchy of {name}").columns.values())
    doubled = next((word for place, word in enumerate(value) if word in value[:place]), None)
    if doubled is not None or not ancestors:
        got = f"{doubled!r} twice" if doubled is not None else "no ancestors"
        raise UsageError(
            f"hierarchy of {name} must have each value once, and its ancestors beside it, got {got}. Correct {path}."
        )
    return {word: list(rest) for word, *rest in zip(value, *ancestors, strict=True)}


def _report(
    asked: Asked, made: anonymity.Anonymised, risks: anonymity.Identifiability, content: bytes
) -> dict[str, Any]:
    """Returns the report in JSON's types: names of columns and counts, no cells and no key."""
    return records.json_types(
        {
            "table": asked.output.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "k": asked.k,
            "unit": asked.unit,
            "l": asked.l_diversity,
            "diversity": asked.diversity,
            "numbers": asked.numbers,
            "quasi": made.kinds,
            "sensitive": asked.sensitive,
            "pseudonyms": asked.pseudonyms,
            "dropped": asked.dropped,
            "loss": made.loss,
            "losses": made.losses,
            "discernibility": made.discernibility,
            "largest_class": max(made.class_sizes),
            "risks": {
                **risks._asdict(),
                "pairs": [pair._asdict() for pair in risks.pairs],
                "linked": {name: linked._asdict() for name, linked in risks.linked.items()},
                "units": None if risks.units is None else risks.units._asdict(),
            },
            "caveat": _CAVEAT,
        }
    )


def _write(asked: Asked, content: bytes, report: dict[str, Any]) -> None:
    """Writes the report and the table, or neither."""
    if asked.report is not None:
        records.write_file(asked.report, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    try:
        records.write_file(asked.output, content)
    except OSError:
        if asked.report is not None:
            asked.report.unlink(missing_ok=True)
        raise


def _lines(asked: Asked, made: anonymity.Anonymised, risks: anonymity.Identifiability) -> Iterator[str]:
    """Yields what was done, what it cost, and what could still single a row out."""
    yield f"quasi-identifiers: {', '.join(f'{name} ({kind})' for name, kind in made.kinds.items())}"
    sizes = f"{risks.smallest_class:,} to {max(made.class_sizes):,} rows"
    if risks.units is not None:
        sizes += f" and at least {risks.units.fewest_in_class:,} values of {asked.unit}"
    counted = "rows" if asked.unit is None else f"values of {asked.unit}"
    yield f"classes: {risks.n_classes:,} of {sizes}; {risks.n_rows:,} rows, sorted"
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in made.losses.items())
    yield f"loss: {made.loss:.3f} ({losses}), from 0 (unchanged) to 1 (all hidden); discernibility {made.discernibility:,}"
    if asked.sensitive is not None:
        yield (
            f"sensitive column {asked.sensitive}: at least {risks.least_distinct} distinct values in a class, "
            f"{risks.n_homogeneous_classes:,} classes ({risks.n_homogeneous_rows:,} rows) with one; "
            f"t-closeness {risks.t_closeness:.3f}"
        )
    for name, linked in risks.linked.items():
        if linked.fewest_in_class < asked.k:
            few = f"only {linked.fewest_in_class:,} of its {linked.n_values:,} values"
            yield f"column {name} has {few} in some class: k counts {counted}. Pass --unit {name} to count values of {name}"
        if linked.n_across_classes:
            across = f"{linked.n_across_classes:,} of its {linked.n_values:,} values"
            yield f"column {name} links rows of several classes, for {across}"
        if name not in asked.pseudonyms:
            unless = "" if name == asked.unit else "if it tells people apart, "
            yield f"column {name} is written in clear: {unless}pass --pseudonym {name} or --drop {name}"
    yield f"unique rows over all columns but pseudonyms: {risks.n_unique_rows:,} of {risks.n_rows:,}"
    for name, fraction in risks.identifying.items():
        yield f"column {name} singles out {100 * fraction:.1f} % of the rows alone: drop or generalise it if others may know it"
    if risks.pairs:
        pairs = (f"{one.first} and {one.second} ({one.n_unique_rows:,} rows)" for one in risks.pairs[:_SHOWN_PAIRS])
        yield f"pairs of columns that single rows out: {risks.n_pairs:,}, such as {', '.join(pairs)}"
    yield _CAVEAT

"""``jaxresearch anonymise``: a file that is k-anonymous and trains, a report, and one line for each mistake."""

import collections
import csv
import hashlib
import io
import json

import pytest

SECRET = bytes(range(100, 132))
PATIENTS = "name,age,zip,illness\n" + "".join(
    f"Person {row},{20 + row % 37},0{150 + row % 4},{('flu', 'cold', 'well')[row % 3]}\n" for row in range(60)
)
LEVELS = "zip,area,country\n" + "".join(f"0{number},0{number // 2},NO\n" for number in range(150, 154))
WORDS = ("patients.csv", "--quasi", "age,zip", "--k", "5", "--output", "out.csv")


@pytest.fixture
def folder(tmp_path):
    """A folder with a table, levels of its postcodes and a key."""
    (tmp_path / "patients.csv").write_text(PATIENTS)
    (tmp_path / "levels.csv").write_text(LEVELS)
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "short").write_bytes(SECRET[:31])
    return tmp_path


@pytest.fixture
def anonymise(command, folder):
    """Carries out the command in the folder."""
    return lambda *words, **environment: command("anonymise", *words, cwd=folder, **environment)


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_table_and_the_report_hold_what_was_asked(anonymise, folder):
    options = ("--sensitive", "illness", "--l", "2", "--hierarchy", "zip=levels.csv", "--report", "report.json")
    done = anonymise(*WORDS, *options, "--pseudonym", "name", "--key-file", "key")
    assert done.returncode == 0, done.stderr
    rows, report = rows_of(folder / "out.csv"), json.loads((folder / "report.json").read_text())
    classes = collections.defaultdict(list)
    for row in rows:
        classes[row["age"], row["zip"]].append(row["illness"])
    assert min(map(len, classes.values())) >= 5 and min(len({*values}) for values in classes.values()) >= 2
    assert [*rows[0]] == ["name", "age", "zip", "illness"] and len({row["name"] for row in rows}) == 60
    assert all(len(row["name"]) == 32 and "Person" not in row["name"] for row in rows)
    assert {row["zip"] for row in rows} <= {"0150", "0151", "0152", "0153", "075", "076", "NO"}
    risks = report["risks"]
    assert risks["smallest_class"] == min(map(len, classes.values())) and risks["n_classes"] == len(classes)
    assert report["sha256"] == hashlib.sha256((folder / "out.csv").read_bytes()).hexdigest()
    assert report["quasi"] == {"age": "number", "zip": "hierarchy"} and report["pseudonyms"] == ["name"]
    assert (
        f"classes: {len(classes)} of {risks['smallest_class']} to " in done.stdout
        and "k-anonymity is not differential privacy" in done.stdout
    )
    for text in (done.stdout, (folder / "report.json").read_text(), (folder / "out.csv").read_text()):
        assert SECRET.hex() not in text and "Person" not in text


def test_the_same_table_gives_the_same_bytes(anonymise, folder):
    header, *rows = PATIENTS.splitlines()
    (folder / "turned.csv").write_text("\n".join([header, *rows[::-1]]))
    for source, output in (("patients.csv", "one.csv"), ("turned.csv", "two.csv")):
        done = anonymise(source, *WORDS[1:-1], output, "--pseudonym", "name", "--key-env", "SALT", SALT="s" * 32)
        assert done.returncode == 0, done.stderr
    assert (folder / "one.csv").read_bytes() == (folder / "two.csv").read_bytes()


VISITS = "name,age,illness\n" + "".join(
    f"Person {n},{20 + n // 3},{('flu', 'cold')[visit % 2]}\n" for n in range(40) for visit in range(3)
)


def test_a_unit_counts_people_in_place_of_rows(anonymise, folder):
    """Each age is that of three people with three visits each: nine rows."""
    (folder / "visits.csv").write_text(VISITS)
    words = ("visits.csv", "--quasi", "age", "--k", "5", "--pseudonym", "name", "--key-file", "key")
    done = anonymise(*words, "--output", "rows.csv")
    line = (
        "column name has only 3 of its 40 values in some class: k counts rows. Pass --unit name to count values of name"
    )
    assert line in done.stdout.splitlines()
    done = anonymise(*words, "--output", "people.csv", "--unit", "name", "--report", "report.json")
    assert done.returncode == 0 and "k counts rows" not in done.stdout, done.stderr
    people = collections.defaultdict(set)
    for row in rows_of(folder / "people.csv"):
        people[row["age"]].add(row["name"])
    report = json.loads((folder / "report.json").read_text())
    assert report["unit"] == "name"
    assert report["risks"]["linked"] == {"name": {"n_values": 40, "fewest_in_class": 6, "n_across_classes": 0}}
    assert min(map(len, people.values())) == 6


def test_people_in_clear_have_the_lines_of_pseudonyms(anonymise, folder):
    """Every person has visits in both areas, so that classes share people."""
    rows = [f"P{n:03},{20 + n // 3},{'ab'[visit % 2]},{visit}\n" for n in range(40) for visit in range(4)]
    (folder / "visits.csv").write_text("patient,age,area,visit\n" + "".join(rows))
    words = ("visits.csv", "--quasi", "age,area", "--k", "5", "--output")
    linked = "column patient links rows of several classes, for 40 of its 40 values"
    lines = anonymise(*words, "rows.csv").stdout.splitlines()
    few = "column patient has only 3 of its 40 values in some class: k counts rows. Pass --unit patient to count"
    assert any(line.startswith(few) for line in lines) and linked in lines
    clear = "column patient is written in clear: if it tells people apart, pass --pseudonym patient or --drop patient"
    assert clear in lines
    done = anonymise(*words, "units.csv", "--unit", "patient", "--report", "report.json")
    lines = done.stdout.splitlines()
    assert linked in lines and "k counts" not in done.stdout
    assert "column patient is written in clear: pass --pseudonym patient or --drop patient" in lines
    assert any(" rows and at least 6 values of patient; 160 rows, sorted" in line for line in lines), lines
    found = json.loads((folder / "report.json").read_text())["risks"]
    assert (
        found["units"] == found["linked"]["patient"] == {"n_values": 40, "fewest_in_class": 6, "n_across_classes": 40}
    )
    done = anonymise(*words, "dropped.csv", "--unit", "patient", "--drop", "patient")
    assert " rows and at least 6 values of patient; " in done.stdout and "column patient" not in done.stdout


def test_a_unit_may_be_dropped(anonymise, folder):
    (folder / "visits.csv").write_text(VISITS)
    words = ("visits.csv", "--quasi", "age", "--k", "5", "--unit", "name", "--drop", "name", "--output", "out.csv")
    assert anonymise(*words).returncode == 0
    sizes = collections.Counter(row["age"] for row in rows_of(folder / "out.csv"))
    assert min(sizes.values()) == 18 and "name" not in rows_of(folder / "out.csv")[0]


def test_what_still_singles_rows_out_is_printed(anonymise):
    done = anonymise(*WORDS)
    assert "column name singles out 100.0 % of the rows alone: drop or generalise it" in done.stdout
    assert "unique rows over all columns but pseudonyms: 60 of 60\n" in done.stdout
    dropped = anonymise(*WORDS[:-1], "other.csv", "--drop", "name")
    assert dropped.returncode == 0 and "column name" not in dropped.stdout


MISTAKES = {
    "no quasi": (("patients.csv", "--k", "5"), "--quasi must name the columns that others may know, got none."),
    "no k": (("patients.csv", "--quasi", "age"), "--k must be a whole number from 2, got none. Write: --k 5"),
    "k of 1": ((*WORDS[:4], "1", *WORDS[5:]), "k must be at least 2, got 1."),
    "few rows": ((*WORDS[:4], "61", *WORDS[5:]), "k must be at most the number of rows, 60, got 61. Lower k."),
    "no output": (WORDS[:5], "--output must end in .csv, got none. Write: --output anonymous.csv"),
    "own output": ((*WORDS[:-1], "patients.csv"), "--output must name a new file, got patients.csv, which exists."),
    "folder": ((*WORDS[:-1], "no/out.csv"), "--output must name a file in an existing folder, got no/out.csv."),
    "report": ((*WORDS, "--report", "key"), "--report must name a new file, got key, which exists."),
    "one file": ((*WORDS, "--report", "out.csv"), "--report must name another file than --output, got out.csv twice."),
    "no table": (
        ("patient.csv", *WORDS[1:]),
        "table must be a file that exists, got patient.csv. Did you mean 'patients.csv'?",
    ),
    "no table at all": (("key", *WORDS[1:]), "table must end in .csv, .tsv, .xlsx or .parquet"),
    "two tables": (("key", *WORDS), "anonymise needs one table, got key patients.csv."),
    "column": ((*WORDS, "--drop", "nam"), "--drop must name columns of the table, got 'nam'. Did you mean 'name'?"),
    "roles": ((*WORDS, "--drop", "age"), "a column must have one role, got age in --quasi and --drop. Leave one out."),
    "option": ((*WORDS, "--secret", "x"), "anonymise has no option --secret, only --quasi, --k, --unit,"),
    "no key": (
        (*WORDS, "--pseudonym", "name"),
        "--pseudonym needs a key, and a key needs --pseudonym, got one without",
    ),
    "only a key": (
        (*WORDS, "--key-file", "key"),
        "--pseudonym needs a key, and a key needs --pseudonym, got one without",
    ),
    "short key": (
        (*WORDS, "--pseudonym", "name", "--key-file", "short"),
        "key file short must have at least 32 bytes, got 31. Create one: head -c 32 /dev/urandom > KEYFILE",
    ),
    "missing key": (
        (*WORDS, "--pseudonym", "name", "--key-file", "nowhere"),
        "--key-file must name a readable file, got nowhere (No such file or directory). Create one: head -c 32",
    ),
    "unit": ((*WORDS, "--unit", "nome"), "--unit must name columns of the table, got 'nome'. Did you mean 'name'?"),
    "unset": (
        (*WORDS, "--pseudonym", "name", "--key-env", "NO_KEY"),
        "--key-env must name an environment variable that is set, got a name that is not set. Pass --key-file KEYFILE.",
    ),
    "l alone": ((*WORDS, "--l", "2"), "--l needs a sensitive column, got none. Write: --sensitive COLUMN --l 2"),
    "l": ((*WORDS, "--sensitive", "illness", "--l", "two"), "--l must be a number from 1, got two. Write: --l 2"),
    "nan": ((*WORDS, "--sensitive", "illness", "--l", "nan"), "l must be at least 1, got nan."),
    "choice": ((*WORDS, "--numbers", "means"), "--numbers must be range or mean, got means. Did you mean 'mean'?"),
    "hierarchy": (
        (*WORDS, "--hierarchy", "zip"),
        "--hierarchy must be pairs with = between them, got zip. Write: --hierar",
    ),
    "no levels": (
        (*WORDS, "--hierarchy", "zip=level.csv"),
        "--hierarchy of zip must be a file that exists, got level.csv. Did you mean 'levels.csv'?",
    ),
    "levels": (
        (*WORDS, "--hierarchy", "zip=patients.csv"),
        "hierarchy of zip must have every value of the column, got none for '0150'. Add a row.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_file(anonymise, folder, mistake):
    words, message = MISTAKES[mistake]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = anonymise(*words)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert done.stderr.startswith(f"jaxresearch: {message}") and done.stderr.count("\n") == 1, done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_failed_write_leaves_no_file(anonymise, folder, monkeypatch):
    from jaxresearch import records

    def fail(path, content):
        if path.name == "out.csv":
            raise OSError(28, "No space left on device", str(path))
        return write_file(path, content)

    write_file = records.write_file
    monkeypatch.setattr(records, "write_file", fail)
    done = anonymise(*WORDS, "--report", "report.json")
    assert done.returncode == 2 and "No space left on device" in done.stderr
    assert not (folder / "out.csv").exists() and not (folder / "report.json").exists()


def test_a_doubled_value_in_a_hierarchy_is_refused(anonymise, folder):
    (folder / "levels.csv").write_text(LEVELS + "0150,075,NO\n")
    done = anonymise(*WORDS, "--hierarchy", "zip=levels.csv")
    assert (
        done.returncode == 2
        and "must have each value once, and its ancestors beside it, got '0150' twice." in done.stderr
    )


def test_help_is_printed_without_a_table(command):
    done = command("anonymise", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: jaxresearch anonymise TABLE --quasi COLUMN,..")
    assert command("anonymise").returncode == 2


@pytest.mark.long
@pytest.mark.parametrize("numbers", ["range", "mean"])
def test_an_anonymised_file_trains(anonymise, command, folder, numbers):
    done = anonymise(*WORDS, "--drop", "name", "--numbers", numbers)
    assert done.returncode == 0, done.stderr
    assert command("new", "mine.py", "--for", "table", cwd=folder).returncode == 0
    options = ("--data", "out.csv", "--target", "illness", "--smoke", "--batch-size", "16", "--directory", "run")
    trained = command("run", "mine.py", *options, cwd=folder)
    assert trained.returncode == 0, trained.stderr
    columns = json.loads((folder / "run" / "config.json").read_text())["data_card"]["columns"]
    kinds = {column["name"]: column["kind"] for column in columns}
    assert kinds == {"age": "category" if numbers == "range" else "number", "zip": "category"}

"""``jaxresearch list``, ``copy`` and ``new``: available experiments, and files to start from."""

import ast
import json

import pytest

from jaxresearch import catalogue

NAMES = {
    "abstract_sorting",
    "credit",
    "chest_xray",
    "diagnosis",
    "drug_discovery",
    "gene_ontology",
    "genome",
    "house_prices",
    "market",
    "knowledge_tracing",
    "lane_change",
    "mislabelled",
    "mnist",
    "motifs",
    "new_molecules",
    "private_credit",
    "private_fashion",
    "private_mnist",
    "private_network",
    "protein_structure",
    "pupil_growth",
    "random_labels",
    "road_scene",
    "schedule",
    "solubility",
    "survival",
    "variational_dropout",
}


def test_list_shows_shipped_experiments_and_local_ones(command, tmp_path):
    assert {line.split()[0] for line in command("list", cwd=tmp_path).stdout.splitlines()} == NAMES
    local = tmp_path / "experiments"
    local.mkdir()
    (local / "mine.py").write_text('"""Is it mine?"""\n')
    (local / "mnist.py").write_text('"""Is it the local one?"""\n')
    (local / "_constants.py").write_text("")
    lines = command("list", cwd=tmp_path).stdout.splitlines()
    assert {line.split()[0] for line in lines} == {*NAMES, "mine"}
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert shown["mine"] == "Is it mine?  (experiments/mine.py)"
    assert shown["mnist"] == "Is it the local one?  (experiments/mnist.py)"  # hides the shipped one


def test_a_local_experiment_hides_the_shipped_one(command, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mnist.py").write_text("raise ValueError('the local one is read')\n")
    done = command("run", "mnist", cwd=tmp_path)
    assert done.returncode == 2 and "the local one is read" in done.stderr


def test_copy_gives_a_file_to_change(command, tmp_path):
    done = command("copy", "mnist", "my.py", cwd=tmp_path)
    assert done.returncode == 0 and "jaxresearch run my.py --smoke" in done.stdout
    assert (tmp_path / "my.py").read_text() == (catalogue.shipped() / "mnist.py").read_text()
    for words in (["copy", "schedule"], ["new"]):
        done = command(*words, "my.py", cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.startswith(
            "jaxresearch: file must not exist yet, got my.py. Choose another name."
        )
    assert (tmp_path / "my.py").read_text() == (catalogue.shipped() / "mnist.py").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["copy"], "copy takes an experiment and a file, got nothing. Write: jaxresearch copy mnist my.py"),
        (["copy", "mnist"], "copy takes an experiment and a file, got mnist. Write: jaxresearch copy mnist my.py"),
        (["copy", "minst", "my.py"], "got 'minst'. Did you mean 'mnist'?"),
        (["copy", "mnist", "my"], "file must end in .py, got my. Write: my.py"),
        (["copy", "mnist", "a/my.py"], "file must be in an existing, writable folder, got a/my.py"),
        (["new"], "new takes a file and --for table|images|text|sequences|reinforcement, got nothing. Write:"),
        (["new", "my.py", "--for"], "got my.py --for. Write: jaxresearch new my.py --for table"),
        (["new", "my.py", "--for", "tabel"], "got 'tabel'. Did you mean 'table'?"),
        (["list", "all"], "list takes no arguments, got 'all'. Write: jaxresearch list"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(command, tmp_path, words, message):
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["list", "copy", "new"])
def test_each_command_has_help(command, name):
    done = command(name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: jaxresearch {name}")
    if name == "new":
        assert all(f"  {kind} " in done.stdout for kind in catalogue.TEMPLATES) and "(no docstring)" not in done.stdout


@pytest.mark.parametrize("kind", catalogue.TEMPLATES)
@pytest.mark.long
def test_a_template_runs_as_it_stands(command, tmp_path, kind):
    assert command("new", "my.py", "--for", kind, cwd=tmp_path).returncode == 0
    done = command("run", "my.py", "--smoke", "--directory", "out", cwd=tmp_path)
    assert done.returncode == 0 and "test/" in done.stdout, done.stderr
    assert (tmp_path / "out" / "result.json").is_file()


def test_every_template_is_listed_and_marks_what_to_change():
    assert {path.stem for path in catalogue.templates().glob("*.py")} == {*catalogue.TEMPLATES}
    for kind in catalogue.TEMPLATES:
        text = catalogue.template(kind)
        assert "# CHANGE" in text and "FILE" in ast.get_docstring(ast.parse(text))


@pytest.mark.long
def test_the_template_for_a_table_takes_classes_and_values(command, tmp_path):
    command("new", "my.py", cwd=tmp_path)
    rows = "".join(f"{i},{i % 7},{'ab'[i % 2]},{i * 0.3 + 0.1}\n" for i in range(100))
    (tmp_path / "mine.csv").write_text(f"age,dose,kind,price\n{rows}")
    for target, metric in (("kind", "test/accuracy"), ("price", "test/r2")):
        done = command("run", "my.py", "--data", "mine.csv", "--target", target, "--smoke", cwd=tmp_path)
        assert done.returncode == 0 and metric in done.stdout, done.stderr
        assert ("\nalways the most frequent class (a): accuracy 0.5\n" in done.stdout) == (target == "kind")


@pytest.mark.long
@pytest.mark.parametrize(("target", "metric"), [("kind", "accuracy"), ("price", "r2")])
def test_the_template_for_a_table_compares_settings_of_both(command, tmp_path, target, metric):
    command("new", "my.py", cwd=tmp_path)
    rows = "".join(f"{i},{i % 7},{'ab'[i % 2]},{i * 0.3 + 0.1}\n" for i in range(100))
    (tmp_path / "mine.csv").write_text(f"age,dose,kind,price\n{rows}")
    data = ("--data", "mine.csv", "--target", target, "--smoke")
    done = command("sweep", "my.py", *data, "--learning-rate", "1e-3,1e-2", "--directory", "sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["metric"] == f"validation/{metric}"
    few = ("--epochs", "1", "--seeds", "2", "--fresh-seeds", "2", "--directory", "study")
    done = command("study", "my.py", *data[:-1], *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "study" / "result.json").read_text())["compared_by"] == metric


@pytest.mark.long
def test_the_template_for_sequences_reads_a_file_of_numbers(command, tmp_path):
    command("new", "my.py", "--for", "sequences", cwd=tmp_path)
    (tmp_path / "mine.txt").write_text("".join(f"{i % 12}\n" for i in range(600)))
    done = command("run", "my.py", "--data", "mine.txt", "--smoke", cwd=tmp_path)
    assert done.returncode == 0 and "test/mean_absolute_error" in done.stdout, done.stderr


@pytest.mark.long
def test_the_template_for_texts_says_where_its_column_is_named(command, tmp_path):
    command("new", "my.py", "--for", "text", cwd=tmp_path)
    rows = "".join(f"a {'good' if i % 2 else 'bad'} film of number {i},{'ab'[i % 2]}\n" for i in range(100))
    (tmp_path / "mine.csv").write_text(f"review,kind\n{rows}")
    words = ("run", "my.py", "--data", "mine.csv", "--target", "kind", "--types", "review=text", "--smoke")
    done = command(*words, cwd=tmp_path)
    message = (
        "must have the column definition; those of mine are review. Rename it in the data, or name yours in the experiment's "
        "file."
    )
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    text = (tmp_path / "my.py").read_text()
    (tmp_path / "my.py").write_text(text.replace('COLUMN = "definition"', 'COLUMN = "review"'))
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0 and "test/macro_f1" in done.stdout, done.stderr


def test_no_template_presents_its_data_as_the_question():
    for kind in catalogue.TEMPLATES:
        headline = catalogue.headline(catalogue.templates() / f"{kind}.py")
        assert headline.endswith("?") and "As it stands, the file" in catalogue.template(kind)

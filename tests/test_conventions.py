"""Every public function follows the conventions: one order of arguments, a complete docstring."""

import ast
import functools
import graphlib
import importlib
import inspect
import pkgutil
import re
import textwrap
from pathlib import Path

import pytest

import jaxresearch

PACKAGE = Path(jaxresearch.__file__).parent
EXPERIMENTS = PACKAGE.parent / "experiments"
ORDER = ("key", "params", "state", "model_state", "batch", "data")  # random draws take the key first


def _modules():
    for info in pkgutil.walk_packages([str(PACKAGE)], "jaxresearch."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def _public():
    """Returns public functions and classes by their full name, each where it is defined."""
    found = {}
    for module in _modules():
        for name, thing in vars(module).items():
            defined_here = getattr(thing, "__module__", None) == module.__name__
            if not name.startswith("_") and defined_here and (inspect.isfunction(thing) or inspect.isclass(thing)):
                found[f"{module.__name__}.{name}"] = thing
    return found


PUBLIC = _public()
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}
CORE = (
    "augmentations",
    "losses",
    "metrics",
    "statistics",
    "subgroups",
    "gradients",
    "training",
    "sweeps",
    "hypergradients",
    "adjust",
    "sampling",
    "clustering",
    "hyperparameters",
    "devices",
    "processes",
    "partitioning",
    "fields",
    "models",
    "data",
    "scale",
    "privacy",
    "explain",
)
LIBRARY = {
    name: thing
    for name, thing in FUNCTIONS.items()
    if name.split(".")[1] in (*CORE, "catalogue", "experiment", "loading", "studies")
}


def test_there_is_something_to_hold_to_the_conventions():
    assert len(LIBRARY) > 50


def test_public_functions_have_a_whole_docstring():
    for name, function in LIBRARY.items():
        doc = inspect.getdoc(function) or ""
        first = doc.splitlines()[0]
        assert first.endswith("."), (name, first)
        assert "Example:" in doc and ">>> " in doc, f"{name} has no runnable example"
        if inspect.signature(function).parameters:
            assert "Args:" in doc, name
            for parameter in inspect.signature(function).parameters:
                assert re.search(rf"^ +\*{{0,2}}{parameter}: \S", doc, re.M), f"{name} does not describe {parameter}"
        if first.startswith("Returns"):
            assert "Returns:" in doc.split("\n", 1)[1], name
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        if any(isinstance(node, ast.Raise) for node in ast.walk(tree)):
            assert "Raises:" in doc, name


def test_public_functions_are_annotated():
    for name, function in LIBRARY.items():
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, name
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, (name, parameter.name)


def test_public_functions_take_their_arguments_in_order():
    for name, function in LIBRARY.items():
        parameters = inspect.signature(function).parameters.values()
        positional = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]
        assert len(positional) <= 5, name
        known = [ORDER.index(p) for p in positional if p in ORDER]
        assert known == sorted(known), (name, positional)
        options = [p for p in parameters if p.default is not p.empty and p.kind == p.POSITIONAL_OR_KEYWORD]
        # Optional data (weights, a path, axes as in jax.vmap) may be positional; settings with a value may not.
        assert all(p.default in (None, 0) or p.name == "delta" for p in options), (name, [p.name for p in options])


def test_public_classes_have_a_docstring():
    for name, thing in PUBLIC.items():
        if inspect.isclass(thing):
            assert (inspect.getdoc(thing) or "").splitlines()[0].endswith((".", ":")), name


@functools.cache
def _sources():
    return {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def _imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_only_models_imports_flax():
    for path, tree in _sources().items():
        if "models" not in path.parts:
            assert not any(name.split(".")[0] in ("flax", "equinox") for name in _imports(tree)), path


# The layers from top to bottom (README, "Layout"): a file imports files of its own layer or of layers above it.
HOUSE = (
    (
        *(
            "interruption",
            "devices",
            "catalogue",
            "signatures",
            "sampling",
            "statistics",
            "losses",
            "metrics",
            "clustering",
            "models",
        ),
        "data",
        "hyperparameters",
    ),
    ("processes", "gradients", "schedules", "augmentations"),
    ("training",),
    ("algorithms", "partitioning", "subgroups"),
    ("sweeps", "hypergradients"),
    ("fields",),
    ("adjust",),
    ("experiment",),
    ("variants",),
    ("loading", "templates"),
    ("execution",),
    ("studies",),
    ("scale", "privacy", "explain"),
    ("records",),
    ("recording",),
    ("reports",),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(HOUSE) for room in rooms}


def _file_of(name):
    """Returns the file of a module of the package, or None."""
    place = PACKAGE.joinpath(*name.split(".")[1:])
    return next((file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()), None)


def _imported_files(path, tree):
    """Returns the files of the package that a file imports: modules, and packages for the names they re-export."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            files = [_file_of(alias.name) for alias in node.names if alias.name.startswith("jaxresearch")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxresearch":
            files = [_file_of(f"{node.module}.{alias.name}") or _file_of(node.module) for alias in node.names]
        else:
            continue
        yield from (file for file in files if file not in (None, path, PACKAGE / "__init__.py"))


@functools.cache
def _all_imports():
    """Returns the files of the package that each file imports."""
    return {path: {*_imported_files(path, tree)} for path, tree in _sources().items()}


def _room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_no_file_imports_in_a_circle():
    try:
        graphlib.TopologicalSorter(_all_imports()).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(str(path.relative_to(PACKAGE)) for path in error.args[1]))


def test_imports_go_one_way():
    for path, files in _all_imports().items():
        if _room(path) not in ("__init__", "__main__"):
            for file in files:
                assert RANK[_room(file)] <= RANK[_room(path)], f"{path} imports {file.relative_to(PACKAGE)}"


def _files_between(start, end):
    """Returns the number of files on the shortest import path, both ends included."""
    reached, n_files = {start}, 1
    while end not in reached:
        reached, n_files = reached | {file for path in reached for file in _all_imports()[path]}, n_files + 1
        assert n_files < 10
    return n_files


def test_saving_a_state_takes_three_files():
    assert _files_between(PACKAGE / "cli" / "run.py", PACKAGE / "records" / "checkpoints.py") <= 3


@pytest.mark.parametrize(
    "path", sorted([*EXPERIMENTS.glob("*.py"), *(PACKAGE / "templates").glob("*.py")]), ids=lambda path: path.stem
)
def test_an_experiment_is_a_screen(path):
    assert len(path.read_text().splitlines()) <= (60 if path.stem == "mnist" else 120)


def test_adamw_with_warm_up_exists_once():
    sources = [*PACKAGE.rglob("*.py"), *EXPERIMENTS.glob("*.py")]
    assert [path.name for path in sources if "optax.adamw(" in path.read_text()] == ["schedules.py"]


def test_only_the_shell_prints_and_writes_files():
    for path, tree in _sources().items():
        place = path.relative_to(PACKAGE).parts[0]
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        methods = {call.attr for call in calls if isinstance(call, ast.Attribute)}
        if place != "cli":
            assert "print" not in names, path
        if place not in ("records", "reports") and path.name != "tfds.py":  # the cache of decoded sets
            assert not methods & {"write_text", "write_bytes", "mkdir", "save", "savez"}, path


def test_the_core_never_jits_seeds_or_logs():
    core = [
        path
        for path in _sources()
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in CORE
        and path.name not in ("optuna.py", "accounting.py")
    ]
    for path in core:
        text = re.sub(r'"""[\s\S]*?"""', "", path.read_text())
        assert "jax.jit" not in text and "logging" not in text and "np.random.seed" not in text, path
        if "data" not in path.parts and path.name not in ("sweeps.py", "nnx.py", "equinox.py", "decoding.py"):
            assert "jax.random.key(" not in text, path


def test_loading_executes_nothing_from_a_file():
    for path, tree in _sources().items():
        assert not any(name.split(".")[0] in ("pickle", "dill", "joblib", "cloudpickle") for name in _imports(tree)), (
            path
        )
        names = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not names & {"eval", "exec"}, path


def test_functions_and_files_are_short():
    lengths = []
    for path, tree in _sources().items():
        assert len(path.read_text().splitlines()) <= 450, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lengths.append(body[-1].end_lineno - body[0].lineno + 1 if body else 0)
    lengths.sort()
    assert lengths[len(lengths) // 2] < 10
    assert lengths[int(0.9 * len(lengths))] < 40


def test_names_of_tests_are_short():
    for path in Path(__file__).parent.rglob("*.py"):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert not [node.name for node in functions if node.name.startswith("test_") and len(node.name) > 60], path

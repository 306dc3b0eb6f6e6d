"""Trained models as files for other programs: a function (StableHLO), or their arrays (safetensors)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxresearch import algorithms, data, execution
from jaxresearch.data import Column, DataCard, NewRows, Preprocessor
from jaxresearch.execution.stages import fitted_of
from jaxresearch.records.files import json_types, write_file
from jaxresearch.records.trained import Ensemble

PLATFORMS = ("cpu", "cuda", "tpu")
FORMATS = ("stablehlo", "safetensors")
_NUMERIC = {"number": "float32", "date": "float32", "category": "int32"}
_MISSING = {"number": "nan", "date": "nan", "category": -1}
_DEVIATIONS = (-3.0, -1.0, 0.0, 1.0, 3.0)  # of a sample from the mean
_CLOSE = 1e-3  # relative: float32 against float64, through preprocessing and a network


class Export(NamedTuple):
    """The content of a file, and a schema for its reader."""

    content: bytes
    schema: dict[str, Any]


class _Inputs(NamedTuple):
    """The inputs of an exported function.

    Attributes:
        of: Returns shapes and types for a number of examples.
        is_raw: Whether preprocessing is inside, so that they are as collected.
        sample: Examples like those of training, which the function is checked on.
    """

    of: Callable[[Any], Any]
    is_raw: bool
    sample: Any


def write_export(export: Export, file: Path) -> Path:
    """Writes an export with its schema beside it in ``FILE.json``; returns the path of the schema.

    Args:
        export: Of `stablehlo` or `safetensors`.
        file: Where to write.
    """
    beside = file.with_name(f"{file.name}.json")
    schema = {"file": file.name, "sha256": hashlib.sha256(export.content).hexdigest(), **export.schema}
    write_file(file, export.content)
    write_file(beside, (json.dumps(json_types(schema), indent=2, allow_nan=False) + "\n").encode())
    return beside


def stablehlo(ensemble: Ensemble, *, seeds: Sequence[int] | None = None) -> Export:
    """Returns the ensemble as a serialised function of arrays, lowered for CPU, CUDA and TPU.

    It takes numbers as collected, where preprocessing is inside, as that of tables of numbers, dates and categories and of
    images is; else prepared ones, an array or a dict of them: texts and molecules are encoded outside. It returns
    ``probabilities`` or ``values`` in the target's own units, and their ``spread`` over seeds, for any number of examples. It
    is called here once, on examples around the means that preprocessing fitted and of every level, and compared with
    `Ensemble.predict`.

    Args:
        ensemble: The models.
        seeds: The seeds to export; all by default.

    Raises:
        ValueError: If the algorithm has no ``predict``, folds need different preprocessing outside the function, float32 is not
            precise enough for the data, or an earlier version trained the run and did not record the form of its examples.

    References:
        JAX documentation, Exporting and serializing staged-out computations. https://docs.jax.dev/en/latest/export/export.html
    """
    places = ensemble.places(seeds)
    ensemble.require_predict()
    taken = _inputs(ensemble, places)
    predict = _function(ensemble, places, is_raw=taken.is_raw)
    (n,) = export.symbolic_shape("n")
    exported = export.export(jax.jit(predict), platforms=PLATFORMS)(taken.of(n))
    _require_equal(ensemble, places, taken, exported)
    schema = {
        "format": "stablehlo",
        "call": "jax.export.deserialize(bytearray(content)).call(inputs)",
        "jax": jax.__version__,
        "platforms": PLATFORMS,
        "inputs": _described_inputs(ensemble.dataset.card, taken),
        "outputs": {name: {"shape": ["n", *out.shape[1:]], "dtype": str(out.dtype)} for name, out in _named(exported)},
        **_about(ensemble, places),
    }
    return Export(bytes(exported.serialize()), schema)


def safetensors(ensemble: Ensemble, *, seeds: Sequence[int] | None = None) -> Export:
    """Returns parameters, model state and fitted numbers of the preprocessing, by path.

    The arrays of parameters and model state have a leading axis of seeds. Of a state with several parts that have parameters, as
    two networks, their names start with ``params/0``, ``params/1``. A state without parameters is kept whole.

    Args:
        ensemble: The models.
        seeds: The seeds to export; all by default.

    References:
        Hugging Face, safetensors, format. https://huggingface.co/docs/safetensors
    """
    from safetensors import numpy as tensors

    places = ensemble.places(seeds)
    arrays = {name: np.array(np.asarray(array)[places], order="C") for name, array in _arrays(ensemble.state).items()}
    fitted = fitted_of(ensemble.dataset)
    if ensemble.dataset.n_runs:
        fitted = data.map_arrays(lambda array: array[places], fitted)
    arrays |= {name: np.array(array, order="C") for name, array in _by_path("fitted", fitted).items()}
    about = _about(ensemble, places)
    shapes = {name: {"shape": array.shape, "dtype": str(array.dtype)} for name, array in arrays.items()}
    metadata = {"seeds": ",".join(map(str, about["seeds"])), "question": ensemble.experiment.question}
    schema = {"format": "safetensors", "leading_axis": "seeds", "tensors": shapes, **about}
    return Export(tensors.save(arrays, metadata=metadata), schema)


def _arrays(state: Any) -> dict[str, Any]:
    """Returns the arrays of a state by path: parameters and model state, or all of it where it has no parameters."""
    parts = algorithms.parts_of(state)
    if not parts:
        return _by_path("state", state)
    arrays = {}
    for place, part in enumerate(parts):
        which = f"/{place}" if len(parts) > 1 else ""
        arrays |= _by_path(f"params{which}", part.params)
        arrays |= _by_path(f"model_state{which}", getattr(part, "model_state", {}))
    return arrays


def _by_path(name: str, tree: Any) -> dict[str, Any]:
    """Returns the arrays of a tree by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return {f"{name}/{path}".rstrip("/"): _as_numbers(leaf) for path, leaf in named.items()}


def _as_numbers(leaf: Any) -> Any:
    """Returns a typed key as its key data, and other arrays unchanged."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf)) if is_key else leaf


def _function(ensemble: Ensemble, places: Sequence[int], *, is_raw: bool) -> Callable[[Any], dict[str, Any]]:
    """Returns the function to export, with the models as constants."""
    dataset, experiment = ensemble.dataset, ensemble.experiment
    chosen = np.asarray(places)
    state = jax.tree.map(lambda leaf: leaf[chosen], ensemble.state)
    numbers = fitted_of(dataset)
    numbers = data.map_arrays(lambda array: array[chosen], numbers) if dataset.n_runs else numbers
    fitted = [dataset.of_run(place).fitted for place in places]

    def prepared(of_run: Any, inputs: Any) -> Any:
        if not is_raw:
            return inputs
        if dataset.card.columns:  # JAX sorts the keys of a dict
            inputs = {column.name: inputs[column.name] for column in dataset.card.columns}
        return experiment.preprocess.apply(of_run, {"inputs": inputs}, training=False)["inputs"]

    outputs_of = execution.outputs_fn_of(
        experiment, ensemble.hyperparameters, dataset, evaluate_every=ensemble.evaluate_every
    )

    def predict(inputs: Any) -> dict[str, Any]:
        if dataset.n_runs and is_raw:
            by_run = [prepared(of_run, inputs) for of_run in fitted]
            inputs, axis = jax.tree.map(lambda *leaves: jnp.stack(leaves), *by_run), 0
        else:
            inputs, axis = prepared(fitted[0], inputs), None
        outputs = jax.vmap(outputs_of, (dataset.axis, 0, axis))(numbers, state, inputs)
        outputs = jnp.stack(
            [experiment.preprocess.invert(of_run, own) for of_run, own in zip(fitted, outputs, strict=True)]
        )
        has_classes = bool(dataset.card.class_names)
        of_seeds = jax.nn.softmax(outputs.astype(jnp.float32), axis=-1) if has_classes else outputs.astype(jnp.float32)
        spread = jnp.std(of_seeds, axis=0, ddof=1) if len(places) > 1 else jnp.full_like(of_seeds[0], jnp.nan)
        return {"probabilities" if has_classes else "values": of_seeds.mean(axis=0), "spread": spread}

    return predict


def _inputs(ensemble: Ensemble, places: Sequence[int]) -> _Inputs:
    """Returns the inputs of the exported function: as collected if preprocessing can be traced, else prepared."""
    card, preprocess = ensemble.dataset.card, ensemble.experiment.preprocess
    fitted = ensemble.dataset.of_run(places[0]).fitted if preprocess.apply is data.standard.apply else {}
    if card.columns and all(column.kind in _NUMERIC for column in card.columns):
        raw = _Inputs(lambda n: _of_columns(card, n), True, _sample_of_columns(card, fitted))
        if _is_traceable(ensemble, raw):
            return raw
    if not (card.feature_arrays or card.feature_dtype):
        raise ValueError(
            "a run must record the arrays of an example to be exported, got one of an earlier version. Train it again."
        )
    is_plain = preprocess.apply in (data.standard.apply, Preprocessor().apply) and not card.columns
    if not is_plain and len({data.digest(ensemble.dataset.of_run(place).fitted) for place in places}) > 1:
        kind = ensemble.dataset.runs_of
        raise ValueError(
            f"{kind} must share their preprocessing to be exported together, got {len(places)} that do not. "
            f"Export one: --seeds {ensemble.seeds[places[0]]}"
        )
    return _Inputs(lambda n: _of_arrays(card, n), is_plain, _sample_of_arrays(card, fitted))


def _of_arrays(card: DataCard, n: Any) -> Any:
    """Returns the shapes and types of prepared inputs: one array, or nested dicts of them."""
    if not card.feature_arrays:
        return jax.ShapeDtypeStruct((n, *card.feature_shape), card.feature_dtype)
    return data.nested(
        {json.dumps(path): jax.ShapeDtypeStruct((n, *shape), dtype) for path, shape, dtype in card.feature_arrays}
    )


def _of_columns(card: DataCard, n: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes and types of the columns of a table."""
    return {column.name: jax.ShapeDtypeStruct((n,), _NUMERIC[column.kind]) for column in card.columns}


def _sample_of_columns(card: DataCard, fitted: Any) -> dict[str, np.ndarray]:
    """Returns a row of missing cells, then numbers around the means that were fitted, differently by column, and all levels."""
    n = 1 + max(len(_DEVIATIONS), *(len(column.levels) for column in card.columns))
    return {column.name: _sample_of_column(column, fitted, n, place) for place, column in enumerate(card.columns)}


def _sample_of_column(column: Column, fitted: Any, n: int, place: int) -> np.ndarray:
    """Returns the cells of a column; numbers are around 1, all positive, where custom preprocessing fitted no known mean."""
    rows = np.arange(n - 1)
    if column.kind == "category":
        return np.array([-1, *(rows % len(column.levels) if column.levels else rows * 0 - 1)], np.int32)
    known = _entry(fitted, "inputs", column.name)
    mean, scale = _entry(known, "mean", default=1.0), _entry(known, "scale", default=0.25)
    return np.append(np.nan, mean + scale * np.array(_DEVIATIONS)[(rows + place) % len(_DEVIATIONS)])


def _sample_of_arrays(card: DataCard, fitted: Any) -> Any:
    """Returns random examples: numbers around the mean that was fitted, tokens of the vocabulary, pixels.

    Of several arrays, any may hold tokens or categories: their whole numbers are 0 and 1.
    """
    draw = np.random.default_rng(0)
    mean, scale = _entry(fitted, "inputs", "mean", default=0.0), _entry(fitted, "inputs", "scale", default=1.0)
    n_tokens = 2 if card.feature_arrays else len(card.vocabulary) or 2

    def sample(of: jax.ShapeDtypeStruct) -> np.ndarray:
        if of.dtype.kind == "f":
            return (mean + 2 * scale * draw.normal(size=of.shape)).astype(of.dtype)
        n_values = 256 if of.dtype == np.uint8 and not card.feature_arrays else n_tokens
        return draw.integers(n_values, size=of.shape).astype(of.dtype)

    return data.map_arrays(sample, _of_arrays(card, len(_DEVIATIONS)))


def _entry(fitted: Any, *names: str, default: Any = None) -> Any:
    """Returns what nested dicts hold under names; the default where they do not."""
    for name in names:
        if not isinstance(fitted, dict) or name not in fitted:
            return default
        fitted = fitted[name]
    return fitted


def _is_traceable(ensemble: Ensemble, raw: _Inputs) -> bool:
    """Returns whether preprocessing works on traced columns."""
    dataset, apply = ensemble.dataset, ensemble.experiment.preprocess.apply
    try:
        made = jax.eval_shape(
            lambda inputs: apply(dataset.of_run(0).fitted, {"inputs": inputs}, training=False)["inputs"], raw.of(2)
        )
        shapes = [data.map_arrays(np.shape, one) for one in (made, _of_arrays(dataset.card, 2))]
    except Exception:  # NumPy or the user's code may raise anything for a traced array
        return False
    return shapes[0] == shapes[1]


def _require_equal(ensemble: Ensemble, places: Sequence[int], taken: _Inputs, exported: Any) -> None:
    """Raises if the exported function differs from the models because float32 is not precise enough."""
    sample, seeds = taken.sample, [ensemble.seeds[place] for place in places]
    predicted = (
        ensemble.predict(NewRows(sample), seeds=seeds) if taken.is_raw else ensemble.of_prepared(sample, seeds=seeds)
    )
    n = data.n_examples({"inputs": sample})
    called = exported.call(jax.tree.map(lambda of, values: jnp.asarray(values, of.dtype), taken.of(n), sample))
    values = np.abs(predicted.ensemble)
    tolerance = _CLOSE * values.max(where=np.isfinite(values), initial=0)  # missing cells may have no prediction
    for name, _ in _named(exported):
        found = np.asarray(called[name], np.float64)
        expected = predicted.spread if name == "spread" else predicted.ensemble
        is_close = np.isclose(found, expected, rtol=_CLOSE, atol=tolerance, equal_nan=True)
        if not is_close.all():
            first = np.argmin(is_close)
            raise ValueError(
                f"an exported function must reproduce the run's predictions, got {name} {found.flat[first]:g} for "
                f"{expected.flat[first]:g}: float32 has too few digits for the inputs or the target. Measure them from a "
                "nearer zero."
            )


def _named(exported: Any) -> list[tuple[str, Any]]:
    """Returns the outputs of an exported function by name."""
    return [*jax.tree.unflatten(exported.out_tree, exported.out_avals).items()]


def _described_inputs(card: DataCard, taken: _Inputs) -> dict[str, Any]:
    """Returns a description of the inputs for a caller."""
    if card.columns and taken.is_raw:
        return {"columns": [_described_column(column) for column in card.columns]}
    words = {"vocabulary": card.vocabulary, "padding": card.padding} if card.vocabulary else {}
    arrays = data.map_arrays(lambda array: {"shape": ["n", *array.shape[1:]], "dtype": str(array.dtype)}, taken.sample)
    return {"arrays" if card.feature_arrays else "array": arrays, "prepared": not taken.is_raw, **words}


def _described_column(column: Any) -> dict[str, Any]:
    """Returns a description of a column for a caller."""
    about = {"name": column.name, "kind": column.kind, "dtype": _NUMERIC[column.kind], "missing": _MISSING[column.kind]}
    about |= {"levels": column.levels} if column.kind == "category" else {}
    about |= {"unit": "days since 1970-01-01"} if column.kind == "date" else {}
    return about | ({"note": column.note} if column.note else {})


def _about(ensemble: Ensemble, places: Sequence[int]) -> dict[str, Any]:
    """Returns a description of the models, for either file."""
    card, target = ensemble.dataset.card, ensemble.dataset.card.target
    return {
        "question": ensemble.experiment.question,
        "seeds": [ensemble.seeds[place] for place in places],
        "step": ensemble.step,
        "class_names": card.class_names,
        "target": None if target is None else {"name": target.name, "note": target.note},
        "data": {"name": card.name, "licence": card.licence, "sha256": dict(card.sha256)},
    }

"""Tables with typed cells: Excel and Parquet, read by Polars."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.data.files.cells import Cells, cells_of


def read_sheet(raw: bytes, path: Path, *, kind: str) -> tuple[dict[str, Cells | np.ndarray], tuple[str, ...]]:
    """Returns the columns of an Excel or Parquet file.

    ====================  ==============================================================
    type in the file      what it becomes
    ====================  ==============================================================
    numbers               float64, nan where missing; words where float64 would alter one
    booleans              the words false and true
    dates, with a time    ``datetime64``
    words                 words; those of Excel are read as those of a table of text
    ====================  ==============================================================

    Args:
        raw: The decompressed file.
        path: Its name.
        kind: xlsx or parquet.

    Returns:
        Columns, and notes: which of several sheets was read.

    Raises:
        ValueError: If Polars is not installed, the file is damaged or empty, or a column is of another type.

    Example:
        >>> read_sheet(b"", Path("mine.parquet"), kind="parquet")
        Traceback (most recent call last):
        ...
        ValueError: mine.parquet must be ...
    """
    try:
        import fastexcel
        import polars
    except ImportError as error:
        raise ValueError(
            f'{path} cannot be read without {error.name}, which is not installed. Run: pip install "jaxresearch[tables]"'
        ) from error
    notes: tuple[str, ...] = ()
    try:
        if kind == "xlsx":
            sheets = fastexcel.read_excel(raw).sheet_names
            line = f"the first of {len(sheets)} sheets of {path.name} was read, {sheets[0]!r}"
            notes = (line,) if len(sheets) > 1 else ()
            frame = polars.read_excel(
                io.BytesIO(raw), engine="calamine", sheet_name=sheets[0], infer_schema_length=None
            )
        else:
            frame = polars.read_parquet(io.BytesIO(raw))
    except (polars.exceptions.PolarsError, fastexcel.FastExcelError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} must be an intact .{kind} file, got a damaged one ({reason}). Save it again."
        ) from error
    if not frame.height:
        raise ValueError(f"{path} must hold rows, got none. Add rows.")
    return {series.name: _column(series, path, is_typed=kind == "parquet") for series in frame}, notes


def _column(series: Any, path: Path, *, is_typed: bool) -> Cells | np.ndarray:
    """Returns the cells of a column."""
    import polars

    dtype = series.dtype
    if dtype == polars.Boolean:
        words = {None: "", True: "true", False: "false"}
        return cells_of((words[cell] for cell in series.to_list()), is_typed=True)
    if dtype in (polars.Date, polars.Datetime):
        return _moments(series)
    if dtype.is_integer() or dtype.is_float() or dtype.is_decimal():
        return _numbers(series)
    if dtype in (polars.String, polars.Categorical, polars.Enum):
        return cells_of(
            ("" if cell is None else cell for cell in series.cast(polars.String).to_list()), is_typed=is_typed
        )
    if dtype == polars.Null:
        return np.full(len(series), np.nan)
    raise ValueError(
        f"column {series.name} of {path} must be numbers, words, booleans or dates, got {dtype}. Convert it, or delete it."
    )


def _moments(series: Any) -> np.ndarray:
    """Returns dates as ``datetime64``, in UTC if they have a zone."""
    import polars

    if getattr(series.dtype, "time_zone", None):
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return series.cast(polars.Datetime("us")).to_numpy().astype("datetime64[us]")


def _numbers(series: Any) -> Cells | np.ndarray:
    """Returns numbers as float64, or as words if float64 would alter one."""
    import polars

    values = series.cast(polars.Float64).to_numpy().astype(np.float64)
    if series.dtype.is_integer() and series.len() > series.null_count() and np.nanmax(np.abs(values)) >= 2.0**53:
        return cells_of(("" if cell is None else str(cell) for cell in series.to_list()), is_typed=True)
    return values

"""A road of two lanes with two parked cars, one in each lane: random scenarios, distances, and the path to follow.

The road runs along x. The centre of the right lane is y = 0, that of the left lane y = 3.5.
"""

import csv
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from jaxresearch.data.dataset import DataCard, Dataset, file_digest
from jaxresearch.fields.driving.vehicle import BMW_320I, CarState, Vehicle, start

LANE_WIDTH = 3.5
_EDGES = (-LANE_WIDTH / 2, 1.5 * LANE_WIDTH)
_N_DRAWN = 1000  # scenarios, of each part


class Scenario(NamedTuple):
    """A double change of lane; each entry a number, or an array of one number per scenario.

    Attributes:
        speed: Of the car at the start, in m/s.
        y: Of the car at the start; x is 0.
        heading: Of the car at the start.
        out: Where the reference path is halfway to the left lane.
        back: Where it is halfway back to the right lane.
        scale: Length of the change: from 12 to 88 % within 4 of it.
        x_1: Centre of the first parked car, in the right lane.
        y_1: The same, across the road.
        x_2: Centre of the second parked car, in the left lane.
        y_2: The same, across the road.
    """

    speed: Any
    y: Any
    heading: Any
    out: Any
    back: Any
    scale: Any
    x_1: Any
    y_1: Any
    x_2: Any
    y_2: Any


def scenarios(key: Key[Array, ""], *, n: int, speeds: tuple[float, float] = (9.0, 14.0)) -> Scenario:
    """Returns random scenarios, all numbers uniform and independent.

    The path is planned roughly: it changes lanes 4 to 10 m before a parked car whose exact place it does not know, so that
    exact tracking may not be enough.

    Args:
        key: Random key.
        n: Number of scenarios, 1 or more.
        speeds: Range of the speed at the start, in m/s.

    Returns:
        Arrays ``(n,)``.

    Raises:
        ValueError: If there is no scenario, a speed is negative, or the range is empty.

    Example:
        >>> drawn = scenarios(jax.random.key(0), n=1000)
        >>> drawn.speed.shape, bool((drawn.x_1 < drawn.x_2 - 20).all())
        ((1000,), True)
    """
    if n < 1:
        raise ValueError(f"n must be 1 scenario or more, got {n}. Pass 1000.")
    if min(speeds) < 0:
        raise ValueError(f"speeds must be 0 or more, got {min(speeds):g}. The car does not reverse.")
    if not speeds[0] <= speeds[1]:
        raise ValueError(f"speeds must be a range from low to high, got {speeds[0]:g} to {speeds[1]:g}. Swap them.")
    ranges = {
        "speed": speeds,
        "y": (-0.3, 0.3),
        "heading": (-0.03, 0.03),
        "before_1": (4.0, 10.0),
        "before_2": (4.0, 10.0),
        "scale": (3.0, 4.0),
        "x_1": (26.0, 34.0),
        "y_1": (-0.4, 0.4),
        "between": (26.0, 34.0),
        "y_2": (LANE_WIDTH - 0.4, LANE_WIDTH + 0.4),
    }
    low, high = (jnp.array(ends)[:, None] for ends in zip(*ranges.values(), strict=True))
    drawn = dict(zip(ranges, jax.random.uniform(key, (len(ranges), n), minval=low, maxval=high), strict=True))
    drawn["x_2"] = drawn["x_1"] + drawn.pop("between")
    drawn["out"] = drawn["x_1"] - drawn.pop("before_1")
    drawn["back"] = drawn["x_2"] - drawn.pop("before_2")
    return Scenario(**drawn)


def read_scenarios(path: str | Path) -> Scenario:
    r"""Returns the scenarios of a CSV file with one column for each entry of `Scenario`.

    Args:
        path: The file; its first row names the columns, in any order.

    Returns:
        Float32 arrays, one number per row.

    Raises:
        ValueError: If the file is no text, a column is missing, there is no row, a cell is no finite number, a speed is negative,
            or a scale is not positive; with the row.
        OSError: If the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "one.csv"
        ...     _ = file.write_text("speed,y,heading,out,back,scale,x_1,y_1,x_2,y_2\n9,0,0,20,45,3,30,0,55,3.5\n")
        ...     float(read_scenarios(file).x_2[0])
        55.0
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a CSV file of scenarios, got one that is no text. Name another.") from error
    if not rows:
        raise ValueError(f"{path} must have a row of names and a row for each scenario, got no scenario. Add one.")
    if missing := [name for name in Scenario._fields if name not in rows[0]]:
        raise ValueError(f"{path} must have the columns {', '.join(Scenario._fields)}, got no {missing[0]}. Add it.")
    columns = [[_number(path, place, row, name) for place, row in enumerate(rows, 2)] for name in Scenario._fields]
    return Scenario(*np.array(columns, np.float32))


def _number(path: str | Path, place: int, row: dict[str, str | None], name: str) -> float:
    """Returns the number of a cell; raises with its row if it is none, a negative speed, or a scale of 0 or less."""
    try:
        number = float(row[name] or "")
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise ValueError(f"{name} in row {place} of {path} must be a finite number, got {row[name]!r}. Correct it.")
    if name == "speed" and number < 0:
        raise ValueError(f"speed in row {place} of {path} must be 0 or more, got {number:g}. The car does not reverse.")
    if name == "scale" and number <= 0:
        raise ValueError(f"scale in row {place} of {path} must be above 0, got {number:g}. Write metres, such as 3.5.")
    return number


def load_scenarios(key: Key[Array, ""], source: str, *, target: str | None = None, **reading: Any) -> Dataset:
    """Returns training and test scenarios, one row of numbers each: how an experiment collects them.

    Args:
        key: Random key.
        source: ``scenarios`` to draw 1,000 for each part, or a CSV file as in `read_scenarios`, the last fifth of which is the
            test part.
        target: Must be left out: scenarios have none.
        **reading: Must be left out, except for the cipher of a cache, which scenarios do not have.

    Returns:
        Inputs ``(n, 10)``, the entries of `Scenario`; no targets.

    Raises:
        ValueError: If there is no such file, it does not parse, or it has a single scenario; if there are options.

    Example:
        >>> load_scenarios(jax.random.key(0), "scenarios").test["inputs"].shape
        (1000, 10)
    """
    if asked := ({"target"} if target else set()) | (reading.keys() - {"cipher"}):
        raise ValueError(
            f"{', '.join(sorted(asked))} must be left out with scenarios, got {source}. They have no targets."
        )
    n_train = _N_DRAWN
    if source == "scenarios":
        found = scenarios(key, n=2 * _N_DRAWN)
    elif Path(source).is_file():
        found = read_scenarios(source)
        n_train = len(found.speed) - max(len(found.speed) // 5, 1)
    else:
        raise ValueError(f"data must be scenarios or a CSV file of scenarios; {source} is no file. Name another.")
    if n_train < 1:
        raise ValueError(f"{source} must have 2 scenarios or more, one to train on and one to test, got 1. Add some.")
    rows = np.stack([np.asarray(values) for values in found], axis=1)
    card = DataCard(name="scenarios", source="drawn: two lanes with two parked cars", feature_names=Scenario._fields)
    if source != "scenarios":
        digests = ((Path(source).name, file_digest(Path(source))),)
        card = dataclasses.replace(card, name=Path(source).stem, source=source, sha256=digests)
    return Dataset({"inputs": rows[:n_train]}, {"inputs": rows[n_train:]}, None, card)


def start_of(scenario: Scenario) -> CarState:
    """Returns the state of the car at the start of a scenario.

    Args:
        scenario: One or several.

    Returns:
        The state, at x = 0 with straight wheels.

    Example:
        >>> start_of(scenarios(jax.random.key(0), n=3)).steering.tolist()
        [0.0, 0.0, 0.0]
    """
    return start(speed=scenario.speed, x=jnp.zeros_like(scenario.speed), y=scenario.y, heading=scenario.heading)


def reference(scenario: Scenario, x: ArrayLike) -> Array:
    r"""Returns the path to follow: to the left lane and back.

    .. math:: y(x) = w \left(\sigma\left(\frac{x - x_\text{out}}{s}\right) - \sigma\left(\frac{x - x_\text{back}}{s}\right)\right)

    Args:
        scenario: One scenario, or several along the last axis of x.
        x: Positions along the road.

    Returns:
        Positions across the road.

    Example:
        >>> one = Scenario(*jnp.array([10.0, 0, 0, 20, 45, 3, 30, 0, 55, 3.5]))
        >>> reference(one, jnp.array([0.0, 20.0, 70.0])).astype(int).tolist()
        [0, 1, 0]
    """
    out, back = ((x - middle) / scenario.scale for middle in (scenario.out, scenario.back))
    return LANE_WIDTH * (jax.nn.sigmoid(out) - jax.nn.sigmoid(back))


def clearance(state: CarState, scenario: Scenario, *, vehicle: Vehicle = BMW_320I) -> Array:
    """Returns the distance from the car to the nearest parked car in metres; below 0, they collide.

    The car is covered by three discs, which reach 0.3 m further to the sides than the car does and up to the corners: no
    collision is overlooked, and the closest passes count as one. Parked cars are rectangles of its size, along the road. The
    distance has a derivative in the state.

    Args:
        state: Any number of states.
        scenario: One scenario.
        vehicle: The car.

    Returns:
        Metres, for each state.

    Example:
        >>> one = Scenario(*jnp.array([10.0, 0, 0, 20, 45, 3, 30, 0, 55, 3.5]))
        >>> passing = start(speed=10.0, x=30.0, y=3.5)
        >>> round(float(clearance(passing, one)), 3)  # 3.5 less half the width of the parked car and the radius of a disc
        1.594
    """
    offsets = vehicle.length / 3 * jnp.array([-1.0, 0.0, 1.0])[(None,) * jnp.ndim(state.x)]
    radius = np.hypot(vehicle.length / 6, vehicle.width / 2)
    heading = state.heading[..., None]
    x = state.x[..., None] + offsets * jnp.cos(heading)  # (..., discs)
    y = state.y[..., None] + offsets * jnp.sin(heading)

    def distance(parked_x: ArrayLike, parked_y: ArrayLike) -> Array:
        beyond = jnp.stack([abs(x - parked_x) - vehicle.length / 2, abs(y - parked_y) - vehicle.width / 2])
        nearest = beyond.max(axis=0)
        is_outside = nearest > 0
        squares = jnp.where(
            is_outside, jnp.sum(jnp.maximum(beyond, 0) ** 2, axis=0), 1
        )  # the root of 0 has no derivative
        return jnp.where(is_outside, jnp.sqrt(squares), nearest)

    nearest = jnp.minimum(distance(scenario.x_1, scenario.y_1), distance(scenario.x_2, scenario.y_2))
    return nearest.min(axis=-1) - radius


def road_margin(state: CarState, *, vehicle: Vehicle = BMW_320I) -> Float[Array, "..."]:
    """Returns the distance from the car's nearest corner to the edge of the road in metres; below 0, it has left the road.

    Args:
        state: Any number of states.
        vehicle: The car.

    Returns:
        Metres, for each state.

    Example:
        >>> round(float(road_margin(start(speed=10.0))), 3)  # half a lane less half the width of the car
        0.945
    """
    reach = vehicle.length / 2 * abs(jnp.sin(state.heading)) + vehicle.width / 2 * abs(jnp.cos(state.heading))
    return jnp.minimum(state.y - _EDGES[0], _EDGES[1] - state.y) - reach

"""A picture of paths on the road, as text."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxresearch.fields.driving.roads import LANE_WIDTH, Scenario
from jaxresearch.fields.driving.vehicle import BMW_320I, Vehicle


def drawing(
    paths: Mapping[str, tuple[Any, Any]], scenario: Scenario, *, n_columns: int = 90, vehicle: Vehicle = BMW_320I
) -> str:
    """Returns the road from above as lines of text: parked cars ``#``, the edges ``=``, and one character per path.

    Args:
        paths: Positions x and y of each path, by its character; a later path hides an earlier one.
        scenario: One, with its parked cars.
        n_columns: Characters of a line, 2 or more; a line is an eighth of a lane.
        vehicle: The parked cars are of its size.

    Returns:
        17 lines, from left to right of the road.

    Raises:
        ValueError: If there is no path, the name of one is not a single character, or there are fewer than two columns.

    Example:
        >>> one = Scenario(*np.array([10.0, 0, 0, 20, 45, 3, 30, 0, 55, 3.5]))
        >>> lines = drawing({"o": (np.arange(80.0), np.zeros(80))}, one, n_columns=40).splitlines()
        >>> len(lines), lines[4].strip(), lines[12] == 40 * "o"
        (17, '##', True)
    """
    if not paths or any(len(name) != 1 for name in paths):
        raise ValueError(f"paths must have names of one character, got {list(paths)}. Write: {{'o': (x, y)}}")
    if n_columns < 2:
        raise ValueError(f"n_columns must be 2 or more, got {n_columns}. Pass 90.")
    x_end = max(float(np.max(x)) for x, _ in paths.values()) or 1.0
    columns = x_end * np.arange(n_columns) / (n_columns - 1)
    rows = LANE_WIDTH / 8 * np.arange(12, -5, -1)  # y of each line, from the left edge to the right one
    canvas = np.full((len(rows), n_columns), " ")
    canvas[[0, -1]] = "="
    for parked_x, parked_y in ((scenario.x_1, scenario.y_1), (scenario.x_2, scenario.y_2)):
        is_near_x = abs(columns - float(parked_x)) <= vehicle.length / 2
        is_near_y = abs(rows - float(parked_y)) <= vehicle.width / 2
        canvas[np.ix_(is_near_y, is_near_x)] = "#"
    for name, (x, y) in paths.items():
        across = np.interp(columns, np.asarray(x), np.asarray(y))
        places = np.abs(rows[:, None] - across[None]).argmin(axis=0)
        canvas[places, np.arange(n_columns)] = name
    return "\n".join("".join(line) for line in canvas)

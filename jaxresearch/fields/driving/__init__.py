"""Driving: a car as a pure function of its controls, roads with obstacles, tracking and planning."""

from jaxresearch.fields.driving.assessment import cost, observation, outcomes
from jaxresearch.fields.driving.control import pure_pursuit, steered
from jaxresearch.fields.driving.pictures import drawing
from jaxresearch.fields.driving.planning import plan
from jaxresearch.fields.driving.roads import (
    LANE_WIDTH,
    Scenario,
    clearance,
    load_scenarios,
    read_scenarios,
    reference,
    road_margin,
    scenarios,
    start_of,
)
from jaxresearch.fields.driving.tracking import drive, pursuit, tuned_lookahead
from jaxresearch.fields.driving.vehicle import (
    BMW_320I,
    CarState,
    Controls,
    Vehicle,
    derivatives,
    lateral_acceleration,
    rollout,
    start,
    step,
)

__all__ = [
    "BMW_320I",
    "CarState",
    "Controls",
    "LANE_WIDTH",
    "Scenario",
    "Vehicle",
    "clearance",
    "cost",
    "derivatives",
    "drawing",
    "drive",
    "lateral_acceleration",
    "load_scenarios",
    "observation",
    "outcomes",
    "plan",
    "pure_pursuit",
    "pursuit",
    "read_scenarios",
    "reference",
    "road_margin",
    "rollout",
    "scenarios",
    "start",
    "start_of",
    "steered",
    "step",
    "tuned_lookahead",
]

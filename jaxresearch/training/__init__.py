"""Training as pure functions: advance an `Algorithm` by steps, look at validation data, or run it from start to end.

Nothing here compiles, prints or draws a seed: wrap a run in `jax.jit`, `jax.vmap`, `jax.grad` or `jax.export` yourself,
or use `jaxresearch.sweeps` or the command line.
"""

from jaxresearch.training.algorithm import Algorithm, EstimatorOf, Plan, State, plan_of
from jaxresearch.training.descent import TrainState, gradient_based, gradient_descent, mean_loss, supervised
from jaxresearch.training.runs import advance, advance_over, evaluate, init, look, run, step_inputs

__all__ = [
    "Algorithm",
    "EstimatorOf",
    "Plan",
    "State",
    "TrainState",
    "advance",
    "advance_over",
    "evaluate",
    "gradient_based",
    "gradient_descent",
    "init",
    "look",
    "mean_loss",
    "plan_of",
    "run",
    "step_inputs",
    "supervised",
]

"""How long a decision takes: the time of each of many calls, after compilation."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

_UNCOUNTED = 3  # calls that compile, and fill caches


def latencies(fun: Callable[..., Any], *args: Any, n: int = 200) -> Float[np.ndarray, " n"]:
    """Returns the time of each of several calls of a function, until its result is there.

    Summarise them by quantiles: a controller has to wait for the slowest call, not for the mean.

    Args:
        fun: Usually compiled, by `jax.jit`; the first calls, which compile it, are not counted.
        *args: Its arguments, the same at each call; place them on the device beforehand.
        n: Number of calls to time, 1 or more; the 99th percentile needs a hundred.

    Returns:
        Seconds, in the order of the calls.

    Raises:
        ValueError: If there is no call to time.

    Example:
        >>> import jax.numpy as jnp
        >>> seconds = latencies(jax.jit(jnp.sort), jnp.arange(8), n=50)
        >>> seconds.shape, bool((seconds > 0).all())
        ((50,), True)
    """
    if n < 1:
        raise ValueError(f"n must be 1 call or more, got {n}. Pass 200.")
    for _ in range(_UNCOUNTED):
        jax.block_until_ready(fun(*args))
    seconds = np.empty(n)
    for call in range(n):
        start = time.perf_counter()
        jax.block_until_ready(fun(*args))
        seconds[call] = time.perf_counter() - start
    return seconds

"""Finance: prices and returns in NumPy on the host; the variance of returns in JAX."""

from jaxresearch.fields.finance.prices import US_INDICES, Prices, load_prices, require_ascending, simple_returns
from jaxresearch.fields.finance.volatility import Garch, backcast, garch, garch_parameters, garch_variances
from jaxresearch.fields.finance.windows import PADDING, load_returns, return_windows

__all__ = [
    "PADDING",
    "US_INDICES",
    "Garch",
    "Prices",
    "backcast",
    "garch",
    "garch_parameters",
    "garch_variances",
    "load_prices",
    "load_returns",
    "require_ascending",
    "return_windows",
    "simple_returns",
]

"""Tests are stricter than a user's JAX: no silent rank promotion, no key used twice."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def key():
    """The one key a test starts from."""
    return jax.random.key(0)

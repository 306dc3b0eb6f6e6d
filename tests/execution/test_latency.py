"""Latencies: one per call, of calls that do not compile."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from jaxresearch import execution
from jaxresearch.execution import latency


def test_latencies_times_each_call_without_compiling(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 12.0, 20.0, 23.0])
    traced, called = [], []

    @jax.jit
    def double(values):
        traced.append(values)
        return 2 * values

    def fun(values):
        called.append(values)
        return double(values)

    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert execution.latencies(fun, jnp.ones(3), n=3).tolist() == [1.0, 2.0, 3.0]
    assert len(traced) == 1 and len(called) > 3  # compiled by a call that is not counted


def test_latencies_refuses_no_calls():
    with pytest.raises(ValueError, match=r"n must be 1 call or more, got 0\. Pass 200\."):
        execution.latencies(jnp.sin, 1.0, n=0)

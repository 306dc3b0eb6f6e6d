"""The cache of compiled programs is bounded: the least recently used files are removed first."""

import os

import pytest

from jaxresearch.cli import compiled


@pytest.fixture
def cache(tmp_path):
    """Ten files of 100 bytes; the one with the lowest number was written first."""
    for number in range(10):
        file = tmp_path / f"{number}-cache"
        file.write_bytes(bytes(100))
        os.utime(file, (1_000 + number, 1_000 + number))
    return tmp_path


def kept(cache):
    return sorted(int(file.name.partition("-")[0]) for file in cache.iterdir())


def test_prune_leaves_what_is_below_the_bound(cache):
    compiled.prune(cache, most=1000)
    assert kept(cache) == [*range(10)]


def test_prune_removes_what_was_unused_for_longest(cache):
    os.utime(cache / "2-cache", (5_000, 1_002))  # read recently
    compiled.prune(cache, most=999)
    assert kept(cache) == [2, 7, 8, 9]


def test_prune_takes_a_folder_that_is_not_there(tmp_path):
    compiled.prune(tmp_path / "none", most=1)
    assert not (tmp_path / "none").exists()

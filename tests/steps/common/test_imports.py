"""Imports without collections, whose objects are old at once."""

from __future__ import annotations

import gc

import pytest

from argotune.steps.common.imports import lasting_imports


def test_nothing_is_collected_within_the_block_and_what_it_made_is_old_afterwards() -> None:
    with lasting_imports():
        assert not gc.isenabled()
        made: list[object] = [[] for _ in range(10_000)]
    assert gc.isenabled()
    young = {id(each) for generation in (0, 1) for each in gc.get_objects(generation)}
    assert not any(id(each) in young for each in made)


def test_an_import_that_fails_leaves_garbage_to_be_collected() -> None:
    with pytest.raises(ImportError), lasting_imports():
        import argotune.no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()

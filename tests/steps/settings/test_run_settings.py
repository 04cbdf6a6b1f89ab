"""The table of settings agrees with the steps' parameters that it feeds."""

from __future__ import annotations

import importlib

import pytest

from argotune.steps.common.fields import Field, fields_of
from argotune.steps.settings.run_settings import (
    SETTINGS,
    annotation_settings,
    flags_of,
    installer_settings,
    parameter_settings,
)
from argotune.steps.settings.step_params import settings_problems
from argotune.workflows.workspace.workflow import to_parameters
from tests.workflows.workspace.helpers import changed, read

FEEDS = [(row.name, feed) for row in SETTINGS.values() for feed in row.feeds]
OTHER_DEFAULTS = {"plan.provider", "provision.workspace", "watch.workspace"}


def field_of(feed: str) -> Field:
    step, _, flag = feed.partition(".")
    params = importlib.import_module(f"argotune.steps.{step}.params").Params
    found = {field.kebab: field for field in fields_of(params)}
    assert flag in found, feed
    return found[flag]


@pytest.mark.parametrize(("name", "feed"), FEEDS)
def test_a_row_and_the_steps_flag_have_the_same_choices(name: str, feed: str) -> None:
    row, field = SETTINGS[name], field_of(feed)
    if field.choices:
        assert set(row.choices) == set(filter(None, field.choices))


@pytest.mark.parametrize(("name", "feed"), FEEDS)
def test_the_step_takes_the_rows_default_and_has_the_same(name: str, feed: str) -> None:
    row, field = SETTINGS[name], field_of(feed)
    # A step that is run alone plans for this machine, and knows no workspace.
    if field.default is None or feed in OTHER_DEFAULTS:
        return
    assert _canonical(field, row.default) == _canonical(field, field.default)


def _canonical(field: Field, text: str) -> object:
    # None, the empty list and the empty text are all `nothing given`.
    if text in ("", "[]"):
        return None
    return float(text) if field.kind in (int, float) else text


@pytest.mark.parametrize("name", [row.name for row in SETTINGS.values()])
def test_every_row_is_read_by_someone(name: str) -> None:
    row = SETTINGS[name]
    assert bool(row.feeds) != bool(row.used_by)
    assert row.is_in_template or row.is_annotation
    assert row.description
    assert not row.description.endswith(".")


def test_rows_of_the_form_come_before_those_of_the_volume() -> None:
    rows = list(SETTINGS.values())
    in_template = [row for row in rows if row.is_in_template]
    assert in_template == rows[: len(in_template)]
    decided = installer_settings()
    assert parameter_settings() == [row for row in in_template if row not in decided]
    assert "volume-size" in annotation_settings()


@pytest.mark.parametrize("name", list(annotation_settings()))
def test_a_default_is_no_problem(name: str) -> None:
    row = annotation_settings()[name]
    if row.value.items is None:
        assert row.problem(row.default) is None


def test_a_flag_has_one_setting() -> None:
    assert flags_of("deploy")["memory"] == "service-memory"
    feeds = [feed for _, feed in FEEDS]
    assert len(feeds) == len(set(feeds))


def test_what_is_not_given_is_left_to_the_template() -> None:
    given = to_parameters(read(changed({}))).keys()
    assert given & annotation_settings().keys() == {"model-source", "provider"}


def test_what_is_said_about_an_approval_that_nobody_needs_is_refused() -> None:
    given = {"urls": '["https://example.com/a"]', "output-image": "registry.example.com/a:1"}
    answered = {"approval-timeout-seconds": "60", "on-approval-timeout": "approve"}
    assert [problem.setting for problem in settings_problems({**given, **answered})] == [*answered]
    required = {**given, **answered, "approval": "required"}
    assert list(settings_problems(required)) == []
    wrong = {**required, "approval-timeout-seconds": "1.5"}
    assert [problem.setting for problem in settings_problems(wrong)] == ["approval-timeout-seconds"]

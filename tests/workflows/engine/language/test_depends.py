import pytest

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.depends import dependencies, results
from argotune.workflows.engine.model import NodeType, Phase

TASKS = [{"name": name} for name in ("a-1", "b", "c")]


def result(phase: Phase) -> dict[str, bool]:
    return results(phase, NodeType.POD, [])


def test_a_bare_name_means_succeeded_or_skipped() -> None:
    found = dependencies({"name": "d", "depends": "a-1 && !b.Failed"}, TASKS)
    assert found.names == ("a-1", "b")
    assert found.met({"a-1": result(Phase.SKIPPED), "b": result(Phase.SUCCEEDED)})
    assert not found.met({"a-1": result(Phase.FAILED), "b": result(Phase.SUCCEEDED)})
    assert not found.met({"a-1": result(Phase.SUCCEEDED), "b": result(Phase.FAILED)})


def test_continue_on_forgives_in_dependencies() -> None:
    tasks: list[dict[str, object]] = [{"name": "a", "continueOn": {"failed": True}}, {"name": "b"}]
    found = dependencies({"name": "b", "dependencies": ["a"]}, tasks)
    assert found.met({"a": result(Phase.FAILED)})
    assert not found.met({"a": result(Phase.ERROR)})


def test_results_of_loops() -> None:
    mixed = results(Phase.FAILED, NodeType.TASK_GROUP, [Phase.FAILED, Phase.SUCCEEDED])
    failed = results(Phase.FAILED, NodeType.TASK_GROUP, [Phase.FAILED, Phase.FAILED])
    assert (mixed["AnySucceeded"], mixed["AllFailed"]) == (True, False)
    assert (failed["AnySucceeded"], failed["AllFailed"]) == (False, True)


@pytest.mark.parametrize(
    ("depends", "problem"),
    [
        ("nobody", "dependency 'nobody' not defined"),
        ("b.Finished", "task result 'Finished' for task 'b' is invalid"),
        ("b + c", "must be made of task names, results"),
        ("b &&", "unexpected end"),
    ],
)
def test_broken_dependencies_say_what_is_wrong(depends: str, problem: str) -> None:
    with pytest.raises(ExpressionError, match=problem):
        dependencies({"name": "d", "depends": depends}, TASKS)

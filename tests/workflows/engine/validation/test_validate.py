from pathlib import Path

import pytest

from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.run import run
from tests.workflows.engine.running import documents, options, run_spec

OK = '  - name: ok\n    container: {image: busybox, command: ["true"]}\n'


def problems(spec: str, tmp_path: Path, **more: object) -> list[str]:
    with pytest.raises(EngineError) as caught:
        run_spec(spec, tmp_path, **more)
    assert not (tmp_path / "run" / "workflow.json").exists()
    return caught.value.problems


def test_problems_of_templates_are_found_all_at_once(tmp_path: Path) -> None:
    found = problems(
        """
  entrypoint: main
  onExit: nowhere
  templates:
  - name: main
    dag:
      tasks:
      - {name: a, template: absent}
      - {name: b, template: say}
      - {name: c, template: say, depends: a}
      - {name: d, templateRef: {name: lib, template: t}, depends: "c.Done"}
  - name: say
    inputs: {parameters: [{name: text}]}
    retryStrategy:
      limit: many
      retryPolicy: Sometimes
      expression: "asInt(lastRetry.exit) =="
      backoff: {duration: 1x}
    container: {image: img, command: [no-such-program-here], args: ["{{inputs.parameters.tex}}"]}
  - name: two
    container: {image: busybox, command: ["true"]}
    suspend: {}
""",
        tmp_path,
    )
    assert found == [
        "templates.main.tasks.d: task result 'Done' for task 'c' is invalid",
        "templates.main.tasks.a: template name 'absent' undefined",
        "templates.main.tasks.b: templates.say inputs.parameters.text was not supplied",
        "templates.say.retryStrategy: Sometimes is not a valid RetryPolicy, expected one of "
        "Always, OnError, OnFailure, OnTransientError",
        "templates.say.retryStrategy: limit must be a whole number of at least 0, got 'many'",
        "templates.say.retryStrategy: unexpected end at 25 in 'asInt(lastRetry.exit) =='",
        "templates.say.retryStrategy: backoff.duration: invalid duration '1x', expected one like "
        "1h30m, 10s, 500ms",
        "templates.say: failed to resolve {{inputs.parameters.tex}}",
        "templates.say: command 'no-such-program-here' of image img does not exist on this "
        "machine: install it, or use --runtime docker",
        "templates.main.tasks.c: templates.say inputs.parameters.text was not supplied",
        "templates.main.tasks.d: template reference lib.t not found: add the file of that "
        "WorkflowTemplate",
        "spec.onExit: template name 'nowhere' undefined",
        "templates.two: multiple template types, expected one of container, script, dag, steps, "
        "suspend",
    ]


def test_calls_are_checked(tmp_path: Path) -> None:
    found = problems(
        """
  entrypoint: main
  templates:
  - name: main
    dag:
      tasks:
      - {name: a, template: absent}
      - {name: b, template: say}
      - {name: c, template: ok, depends: a, when: "{{tasks.b.status}} == Succeeded"}
      - {name: d, templateRef: {name: lib, template: t}}
      - {name: e, template: ok, withItems: [1], withParam: "[]"}
  - name: say
    inputs: {parameters: [{name: text}]}
    container: {image: busybox, command: ["true"]}
"""
        + OK,
        tmp_path,
    )
    assert found == [
        "templates.main.tasks.a: template name 'absent' undefined",
        "templates.main.tasks.b: templates.say inputs.parameters.text was not supplied",
        "templates.main.tasks.c: failed to resolve {{tasks.b.status}}",
        "templates.main.tasks.d: template reference lib.t not found: add the file of that "
        "WorkflowTemplate",
        "templates.main.tasks.e: only one of withItems, withParam, withSequence can be specified",
    ]


def test_a_ring_of_tasks_is_refused(tmp_path: Path) -> None:
    found = problems(
        """
  entrypoint: main
  templates:
  - name: main
    dag:
      tasks:
      - {name: a, template: ok, dependencies: [b]}
      - {name: b, template: ok, dependencies: [a]}
"""
        + OK,
        tmp_path,
    )
    assert found == ["templates.main dependency cycle detected: a->b->a"]


def test_an_image_without_a_command_is_refused_by_name(tmp_path: Path) -> None:
    found = problems(
        "  entrypoint: m\n  templates: [{name: m, container: {image: nginx:1}}]\n", tmp_path
    )
    assert found == [
        "templates.m: command is missing: processes do not use image nginx:1, which would set it; "
        "set command, or use --runtime docker"
    ]


def test_missing_secrets_and_config_maps_are_named(tmp_path: Path) -> None:
    found = problems(
        """
  entrypoint: m
  volumes: [{name: s, secret: {secretName: push}}]
  templates:
  - name: m
    container:
      image: busybox
      command: ["true"]
      env:
      - {name: A, valueFrom: {configMapKeyRef: {name: conf, key: k}}}
      - {name: B, valueFrom: {fieldRef: {fieldPath: spec.priority}}}
      volumeMounts: [{name: s, mountPath: /s}, {name: t, mountPath: /t}]
""",
        tmp_path,
    )
    assert found == [
        "templates.m: volume 't' is mounted but not declared",
        "templates.m: env A: configMap 'conf' was not found: add it to the documents",
        "templates.m: env B: fieldPath 'spec.priority' is not supported by the local engine",
        "templates.m: volume s: secret 'push' was not found: add it to the documents, or pass a "
        "directory for it",
    ]


def test_parameters_are_checked(tmp_path: Path) -> None:
    found = problems(
        """
  entrypoint: ok
  arguments:
    parameters: [{name: size, enum: [small, large], value: small}, {name: needed}]
  templates:
"""
        + OK,
        tmp_path,
        parameters={"size": "huge", "szie": "small"},
    )
    assert found == [
        "spec.arguments.size must be one of small, large, got 'huge'",
        "spec.arguments.needed.value is required: give it with -p needed=VALUE",
        "parameter 'szie' is not known: the workflow's parameters are needed, size",
    ]


def test_expressions_are_checked(tmp_path: Path) -> None:
    found = problems(
        """
  entrypoint: m
  arguments: {parameters: [{name: x, value: "1"}]}
  templates:
  - name: m
    container:
      image: busybox
      command: [echo]
      args:
      - "{{=asInt(workflow.parameters.y)}}"
      - "{{=workflow.parameters.y ?? 'default'}}"
      - "{{=nosuch(workflow.parameters.x)}}"
      - "{{=sprig.genPrivateKey('rsa')}}"
      - "{{=filter([1], # > 0) | len()}}"
""",
        tmp_path,
    )
    assert found == [
        "templates.m: expression 'asInt(workflow.parameters.y)': workflow.parameters.y is not "
        "defined",
        "templates.m: expression 'nosuch(workflow.parameters.x)': function nosuch is not known",
        "templates.m: expression \"sprig.genPrivateKey('rsa')\": function sprig.genPrivateKey is "
        "not supported by the local engine",
    ]


def test_there_must_be_one_thing_to_run(tmp_path: Path) -> None:
    two = documents("  entrypoint: ok\n") + documents("  entrypoint: ok\n")
    with pytest.raises(EngineError, match="there are 2 documents to run, expected one"):
        run(two, options(tmp_path))
    with pytest.raises(EngineError, match="there is nothing to run"):
        run([], options(tmp_path))


def test_a_display_name_that_argo_does_not_take_is_refused(tmp_path: Path) -> None:
    spec = """
  entrypoint: main
  templates:
  - name: main
    annotations: {workflows.argoproj.io/display-name: two words}
    container: {image: busybox, command: ["true"]}
"""
    assert problems(spec, tmp_path) == [
        "templates.main: annotation workflows.argoproj.io/display-name: 'two words'; accepted are"
        " 2 to 63 letters, digits, '-' and '.', a letter or digit first and last"
    ]


def test_metrics_have_variables_of_their_own(tmp_path: Path) -> None:
    workflow = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    metrics:
      prometheus:
      - name: tries
        help: of main
        when: "{{status}} == Succeeded"
        gauge: {value: "{{outputs.parameters.out}} {{duration}}"}
    container: {image: busybox, command: ["true"]}
""",
        tmp_path,
    )
    assert workflow["status"]["phase"] == "Succeeded"

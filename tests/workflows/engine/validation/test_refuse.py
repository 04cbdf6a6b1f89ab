from argotune.workflows.engine.state.load import parse_documents
from argotune.workflows.engine.validation.refuse import unsupported_fields
from tests.workflows.engine.running import documents


def test_unsupported_fields_are_named_with_their_paths_all_at_once() -> None:
    found = unsupported_fields(
        documents("""
  entrypoint: main
  shutdown: Stop
  entrpoint: typo
  templates:
  - name: main
    container: {image: busybox, command: ["true"], tty: true}
    sidecars: [{name: s, image: busybox}]
  - name: set
    containerSet: {containers: []}
    memoize: {key: a, cache: {configMap: {name: b}}}
  - name: steps
    steps:
    - - {name: a, template: main, hooks: {running: {template: main, expression: "true"}}}
""")
    )
    assert found == [
        "Workflow wf: spec.shutdown is not supported by the local engine: stop the run instead",
        "Workflow wf: spec.entrpoint is not a field that Argo 4.0 knows here",
        "Workflow wf: spec.templates[0].container.tty is not supported by the local engine",
        "Workflow wf: spec.templates[0].sidecars is not supported by the local engine: "
        "run the server beside the workflow",
        "Workflow wf: spec.templates[1].containerSet is not supported by the local engine: "
        "use a dag of containers",
        "Workflow wf: spec.templates[1].memoize is not supported by the local engine: "
        "it needs a cluster: leave it out",
        "Workflow wf: spec.templates[2].steps[0][0].hooks.running is not supported by the local "
        "engine: only the hook exit is; run the others' templates as steps",
    ]


def test_fields_of_the_cluster_are_accepted() -> None:
    found = unsupported_fields(
        documents("""
  entrypoint: main
  tolerations: [{key: sku, operator: Exists}]
  ttlStrategy: {secondsAfterCompletion: 1}
  podGC: {strategy: OnPodCompletion}
  securityContext: {runAsNonRoot: true}
  templates:
  - name: main
    nodeSelector: {a: b}
    podSpecPatch: '{"containers": [{"name": "main", "resources": {"limits": {"cpu": "{{x}}"}}}]}'
    container: {image: busybox, command: ["true"], resources: {limits: {cpu: 1}}}
""")
    )
    assert found == []


def test_values_of_a_wrong_type_are_refused() -> None:
    found = unsupported_fields(
        documents("""
  entrypoint: 1
  arguments: {parameters: [{name: no, value: {a: b}}]}
  templates: {name: main}
  onExit: yes
""")
    )
    assert found == [
        "Workflow wf: spec.entrypoint must be a string, got 1: put it in quotes",
        "Workflow wf: spec.arguments.parameters[0].name must be a string, got False: "
        "put it in quotes",
        "Workflow wf: spec.arguments.parameters[0].value must be a string, a number or a boolean, "
        "got {'a': 'b'}",
        "Workflow wf: spec.templates must be a list, got {'name': 'main'}",
        "Workflow wf: spec.onExit must be a string, got True: put it in quotes",
    ]


def test_a_pod_spec_patch_that_changes_what_runs_is_refused() -> None:
    found = unsupported_fields(
        documents("""
  podSpecPatch: "{containers: [{name: main, command: [rm]}], hostNetwork: true}"
""")
    )
    assert found == [
        "Workflow wf: spec.podSpecPatch.containers[0].command is not a field that Argo 4.0 knows "
        "here",
        "Workflow wf: spec.podSpecPatch.hostNetwork is not a field that Argo 4.0 knows here",
    ]


def test_a_pod_spec_patch_that_is_one_tag_is_known_when_the_pod_is_made() -> None:
    assert unsupported_fields(documents('  podSpecPatch: \'{{=true ? "{}" : ""}}\'\n')) == []


def test_other_kinds_are_refused_by_name() -> None:
    assert unsupported_fields(parse_documents("kind: Deployment\nmetadata: {name: x}", "x")) == [
        "Deployment x: kind Deployment is not supported, expected a Workflow, WorkflowTemplate, "
        "ClusterWorkflowTemplate, CronWorkflow, ConfigMap or Secret"
    ]

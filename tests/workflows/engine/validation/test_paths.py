"""Paths and names that would lead out of a pod are refused by name."""

from pathlib import Path

from tests.workflows.engine.validation.test_validate import problems

GOES_UP = """
  entrypoint: m
  volumes:
  - {name: w, emptyDir: {}}
  - {name: s, secret: {secretName: given, items: [{key: k, path: ../k}]}}
  templates:
  - name: m
    inputs: {artifacts: [{name: conf, path: /tmp/../conf, raw: {data: x}}]}
    outputs:
      parameters:
      - {name: a, valueFrom: {path: /tmp/../../etc/passwd}}
      - {name: b, valueFrom: {path: out}}
    container:
      image: busybox
      command: ["true"]
      workingDir: /w/../..
      terminationMessagePath: /dev/../log
      volumeMounts:
      - {name: w, mountPath: /w/../etc, subPath: ../other}
      - {name: w, mountPath: /x, subPath: /etc}
      - {name: s, mountPath: /}
"""


def test_paths_that_go_up_are_refused_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("x")
    found = problems(GOES_UP, tmp_path, secrets={"given": tmp_path / "k"})
    up = "must be absolute and without '..'"
    inner = "must be relative and without '..'"
    assert found == [
        f"templates.m: outputs.parameters.a.valueFrom.path '/tmp/../../etc/passwd' {up}",
        f"templates.m: outputs.parameters.b.valueFrom.path 'out' {up}",
        f"templates.m: inputs.artifacts.conf.path '/tmp/../conf' {up}",
        f"templates.m: workingDir '/w/../..' {up}",
        f"templates.m: terminationMessagePath '/dev/../log' {up}",
        f"templates.m: mountPath '/w/../etc' {up}",
        f"templates.m: subPath '../other' {inner}",
        f"templates.m: subPath '/etc' {inner}",
        "templates.m: mountPath '/' must be a directory below /",
        f"templates.m: volume s: path '../k' {inner}",
    ]


def test_names_that_would_be_paths_are_refused(tmp_path: Path) -> None:
    found = problems(
        """
  entrypoint: m
  volumes: [{name: ../../out, emptyDir: {}}]
  volumeClaimTemplates: [{metadata: {name: ../claim}, spec: {}}]
  templates:
  - name: m
    outputs: {parameters: [{name: ../a, valueFrom: {path: /tmp/a}}]}
    container:
      image: busybox
      command: ["true"]
      volumeMounts: [{name: ../../out, mountPath: /o}, {name: ../claim, mountPath: /c}]
""",
        tmp_path,
    )
    rule = "use lower-case letters, digits and '-', with a letter or digit at both ends"
    assert found == [
        "templates.m: outputs.parameters: name '../a' is invalid: names must consist of"
        " alpha-numeric characters, '_' or '-'",
        f"templates.m: volume '../../out': the name is invalid: {rule}",
        f"templates.m: volume '../claim': the name is invalid: {rule}",
    ]

"""A Workspace of Kaito: what is taken, and every way in which it can be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.plan.params import Params
from argotune.workflows.workspace.read import plan_params
from tests.workflows.workspace.helpers import (
    CONFIG_MAP,
    QUICK_START,
    WORKSPACE,
    changed,
    problems_of,
    read,
)

TUNING = "tuning: missing; accepted are preset, method, input and output"


def test_workspace_is_read_whole() -> None:
    workspace = read(WORKSPACE)
    assert workspace.name == "my-model"
    assert workspace.namespace is None
    assert (workspace.preset, workspace.method) == ("phi-4", "lora")
    assert workspace.urls == ("https://example.com/data.parquet",)
    assert workspace.config == ""
    assert workspace.output_image == "registry.example.com/my-model:1"
    assert workspace.push_secret == "my-secret"
    assert workspace.instance_type == "Standard_NC24ads_A100_v4"
    assert workspace.label_selector == {"app": "my-model"}
    assert workspace.model_source is None
    assert workspace.options == {"provider": "existing"}
    assert workspace.warnings == ()
    assert workspace.problems_before_submit == ()


def test_quick_start_is_read_unchanged_with_placeholders_to_be_filled_in() -> None:
    workspace = read(QUICK_START)
    image = (
        "tuning.output.image: 'ACR_REPO_HERE.azurecr.io/IMAGE_NAME_HERE:0.0.1': "
        "'ACR_REPO_HERE.azurecr.io' is not a registry's HOST or HOST:PORT"
    )
    secret = (
        "tuning.output.imagePushSecret: 'ACR_REGISTRY_SECRET_HERE' is not the name of a "
        "Secret, which has lower-case letters, digits, '-' and '.'"
    )
    assert workspace.preset == "phi-3-mini-128k-instruct"
    assert workspace.instance_type == "Standard_NC6s_v3"
    assert workspace.urls[0].endswith("?download=true")
    assert workspace.problems_before_submit == (image, secret)
    assert workspace.warnings == (
        "apiVersion: kaito.sh/v1alpha1 is Kaito's older version; v1beta1 reads the same",
        "tuning.input.urls[0]: the query of https://huggingface.co/datasets/philschmid/"
        "dolly-15k-oai-style/resolve/main/data/train-00000-of-00001-54e3756291ca09c6.parquet may "
        "hold a token: it goes into a Secret and is in no argument, log, name or image",
        "resource.instanceType: Standard_NC6s_v3: no provider is named, so a node of this type "
        "must be in the cluster; argotune.dev/provider: aks or karpenter has one made for the run",
        f"{image} (to be filled in)",
        f"{secret} (to be filled in)",
    )


def test_config_map_beside_the_workspace_is_used() -> None:
    workspace = read(changed({"tuning/config": "my-config"}) + "---\n" + CONFIG_MAP)
    assert workspace.config == "training_config:\n  LoraConfig:\n    r: 8\n"
    assert workspace.warnings == ()


def test_config_map_may_stand_in_another_file_and_before() -> None:
    workspace = read(CONFIG_MAP, changed({"tuning/config": "my-config"}))
    assert workspace.config.startswith("training_config:")


def test_list_of_kubectl_is_opened() -> None:
    items = [changed({"tuning/config": "my-config"}), CONFIG_MAP]
    text = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
        "- " + item.replace("\n", "\n  ").rstrip(" ") for item in items
    )
    assert read(text).config.startswith("training_config:")


def test_what_the_api_server_adds_is_no_unknown_field() -> None:
    text = changed(
        {
            "metadata/uid": "a-b",
            "metadata/managedFields": [{"manager": "kubectl"}],
            "metadata/annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
                "argotune.dev/provider": "existing",
            },
            "status": {"state": "Pending"},
        }
    )
    assert read(text).warnings == ()


def test_secret_beside_it_is_left_alone() -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: my-secret}\nstringData: {a: hidden}\n"
    assert read(WORKSPACE + "---\n" + secret).warnings == (
        "one.yaml: line 22: the Secret is not applied; use `kubectl apply`",
    )


def test_config_map_that_is_not_named_is_not_used() -> None:
    workspace = read(WORKSPACE + "---\n" + CONFIG_MAP)
    assert workspace.config == ""
    assert workspace.warnings == ("ConfigMap 'my-config': not used; tuning.config names none",)


def test_config_map_of_the_cluster_is_looked_for() -> None:
    asked: list[tuple[str | None, str, str]] = []

    def find(namespace: str | None, name: str, key: str) -> str | None:
        asked.append((namespace, name, key))
        return "training_config: {}\n" if name == "my-config" else None

    text = changed({"tuning/config": "my-config", "metadata/namespace": "team"})
    assert read(text, find_config_map=find).config == "training_config: {}\n"
    assert asked == [("team", "my-config", "training_config.yaml")]
    assert problems_of(changed({"tuning/config": "other"}), find_config_map=find) == [
        "tuning.config: 'other' is no ConfigMap in the files or the cluster; put it into the same "
        "file after a line with ---, or leave tuning.config out for the preset's defaults"
    ]


def test_method_is_compared_without_case_as_in_kaito() -> None:
    assert read(changed({"tuning/method": "QLoRA"})).method == "qlora"


def test_alias_of_a_preset_becomes_its_name() -> None:
    assert read(changed({"tuning/preset/name": "mistral-7b-v0.3"})).preset == "mistral-7b"


@pytest.mark.parametrize("value", [None, ""])
def test_no_instance_type_means_existing_nodes(value: str | None) -> None:
    assert read(changed({"resource/instanceType": value})).instance_type is None


def test_v1alpha1_has_kaitos_default_instance_type() -> None:
    old = {"apiVersion": "kaito.sh/v1alpha1"}
    workspace = read(changed({**old, "resource/instanceType": None}))
    assert workspace.instance_type == "Standard_NC24ads_A100_v4"
    assert workspace.warnings[1] == (
        "resource.instanceType: missing, which is Standard_NC24ads_A100_v4 in v1alpha1; write an "
        "empty text for existing nodes or this machine"
    )
    assert read(changed({**old, "resource/instanceType": ""})).instance_type is None


@pytest.mark.parametrize(
    ("image", "resolved"),
    [
        ("oci:dist/model:1.0", "oci:/home/user/project/dist/model:1.0"),
        ("oci:../out", "oci:/home/user/out"),
        ("oci:/var/images:x", "oci:/var/images:x"),
    ],
)
def test_layout_on_disk_is_made_absolute_and_needs_no_secret(image: str, resolved: str) -> None:
    text = changed({"tuning/output/image": image, "tuning/output/imagePushSecret": None})
    workspace = read(text)
    assert workspace.output_image == resolved
    assert workspace.push_secret is None
    assert workspace.warnings == ()


def test_secret_for_a_layout_on_disk_is_not_needed() -> None:
    workspace = read(changed({"tuning/output/image": "oci:out"}))
    assert workspace.push_secret is None
    assert workspace.warnings == ("tuning.output.imagePushSecret: not needed for oci:",)


def test_upper_case_repository_is_a_placeholder_until_something_runs() -> None:
    workspace = read(changed({"tuning/output/image": "registry.example.com/MY_MODEL:1"}))
    problem = (
        "tuning.output.image: 'registry.example.com/MY_MODEL:1': 'MY_MODEL' is not a component of "
        "a repository name; use lower-case letters and digits, with single '.', '_' or '-' "
        "between them"
    )
    assert workspace.problems_before_submit == (problem,)
    assert workspace.warnings == (f"{problem} (to be filled in)",)


def test_private_model_image_of_kaito_becomes_the_model_source() -> None:
    text = changed(
        {
            "tuning/preset/accessMode": "private",
            "tuning/preset/presetOptions/image": "registry.example.com/phi-4:0.2.0",
            "tuning/preset/presetOptions/modelAccessSecret": "hub-token",
        }
    )
    workspace = read(text)
    assert workspace.model_source == "oci:registry.example.com/phi-4:0.2.0"
    assert workspace.model_access_secret == "hub-token"


def test_reserved_labels_are_left_out_of_the_selector() -> None:
    labels = {"app": "x", "kaito.sh/workspace": "y", "karpenter.sh/nodepool": "kaito"}
    workspace = read(changed({"resource/labelSelector/matchLabels": labels}))
    assert workspace.label_selector == {"app": "x"}
    assert workspace.warnings == (
        "resource.labelSelector.matchLabels.kaito.sh/workspace: left out, as in Kaito; every "
        "node has it anyway",
        "resource.labelSelector.matchLabels.karpenter.sh/nodepool: left out, as in Kaito; every "
        "node has it anyway",
    )


def test_deprecated_fields_are_said_to_have_no_effect() -> None:
    text = changed(
        {
            "resource/preferredNodes": ["node-1"],
            "resource/count": 1,
            "tuning/input/name": "dolly",
        }
    )
    assert read(text).warnings == (
        "resource.preferredNodes: has no effect: nodes are found by resource.labelSelector "
        "(deprecated in Kaito)",
        "tuning.input.name: has no effect: all files make one dataset",
    )


@pytest.mark.parametrize("name", ["My.Model", None])
def test_a_wrong_name_is_told_once(name: str | None) -> None:
    asked = []

    def check_plan(params: Params) -> list[str]:
        asked.append(params.name)
        return []

    assert problems_of(changed({"metadata/name": name}), check_plan=check_plan)
    assert asked == ["workspace"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"metadata/name": None}, "metadata.name: missing; accepted is lower-case letters, "),
        (
            {"metadata/name": "My.Model"},
            "metadata.name: 'My.Model'; accepted are lower-case letters, digits and '-', a letter "
            "first, at most 63",
        ),
        ({"metadata/name": 7}, "metadata.name: 7; accepted is a text"),
        ({"metadata/namespace": "A"}, "metadata.namespace: 'A'; accepted are lower-case letters, "),
        ({"resource/count": 2}, "resource.count: 2; accepted is 1, one node"),
        ({"resource/count": True}, "resource.count: True; accepted is 1, one node"),
        (
            {"resource/labelSelector": None},
            "resource.labelSelector: missing; accepted is matchLabels, whose labels the GPU nodes "
            "have",
        ),
        (
            {"resource/labelSelector/matchExpressions": [{"key": "a", "operator": "Exists"}]},
            "resource.labelSelector.matchExpressions: not supported; accepted is matchLabels",
        ),
        (
            {"resource/labelSelector/matchLabels": {"a b": "c"}},
            "resource.labelSelector.matchLabels.a b: 'c'; accepted are a label's key and value",
        ),
        (
            {"resource/labelSelector/matchLabels": {"gpu": True}},
            "resource.labelSelector.matchLabels.gpu: True; accepted is a text, in quotes",
        ),
        (
            {"resource/partition": {"count": 2}},
            "resource.partition: a part of a GPU is not supported; accepted is to leave it out",
        ),
        (
            {"resource/instancetype": "x"},
            "resource.instancetype: unknown field; did you mean instanceType?",
        ),
        ({"spec": {}}, "spec: unknown field; known are apiVersion, inference, kind, "),
        (
            {"tuning/urls": ["https://example.com/x"]},
            "tuning.urls: unknown field; did you mean tuning.input.urls?",
        ),
        (
            {"tuning/preset": "phi-4"},
            "tuning.preset: 'phi-4'; accepted is a mapping",
        ),
        (
            {"tuning/preset/name": "phi4"},
            "tuning.preset.name: 'phi4' is not a model preset; did you mean phi-4? known are ",
        ),
        (
            {"tuning/preset/accessMode": "secret"},
            "tuning.preset.accessMode: 'secret'; accepted are public and private",
        ),
        (
            {"tuning/preset/accessMode": "private"},
            "tuning.preset.presetOptions.image: missing; accepted is the image of the weights, "
            "because tuning.preset.accessMode is private",
        ),
        (
            {"tuning/preset/presetOptions/modelWeightsPVC": "claim"},
            "tuning.preset.presetOptions.modelWeightsPVC: not supported; weights on a volume "
            "are argotune.dev/model-source: dir:DIRECTORY",
        ),
        (
            {"tuning/preset/presetOptions/imagePullSecrets": ["pull"]},
            "tuning.preset.presetOptions.imagePullSecrets: not supported; accepted is an image "
            "that needs no login",
        ),
        ({"tuning/method": None}, "tuning.method: missing; accepted is lora or qlora"),
        ({"tuning/method": "full"}, "tuning.method: 'full'; accepted are lora and qlora"),
        (
            {"tuning/config": "my-config"},
            "tuning.config: 'my-config' is no ConfigMap in the files; put it into the same file "
            "after a line with ---, or leave tuning.config out for the preset's defaults",
        ),
        (
            {"tuning/input": None},
            "tuning.input: none; accepted is exactly one of urls, image and volumeSource",
        ),
        (
            {"tuning/input/urls": []},
            "tuning.input: none; accepted is exactly one of urls, image and volumeSource",
        ),
        (
            {"tuning/input/urls": "https://example.com/x"},
            "tuning.input.urls: 'https://example.com/x'; accepted is a list of texts",
        ),
        (
            {"tuning/input/urls": ["https://example.com/x", 5]},
            "tuning.input.urls[1]: 5; accepted is a text",
        ),
        (
            {"tuning/input": {"image": "registry.example.com/Data:1"}},
            "tuning.input.urls: 'registry.example.com/Data:1': 'Data' is not a component of a "
            "repository name",
        ),
        (
            {"tuning/input": {"volumeSource": {"emptyDir": {}}}},
            "tuning.input.volumeSource.emptyDir: it is empty; accepted is persistentVolumeClaim",
        ),
        (
            {"tuning/input": {"volumeSource": {"hostPath": {"path": "/data"}}}},
            "tuning.input.volumeSource.hostPath: it is a directory of whatever node the pod lands "
            "on, and restricted namespaces refuse it; accepted is persistentVolumeClaim",
        ),
        (
            {"tuning/input": {"volumeSource": {"persistentVolumeClaim": {"claimName": "A b"}}}},
            "tuning.input.volumeSource.persistentVolumeClaim.claimName: 'A b'; accepted is the "
            "name of a PersistentVolumeClaim",
        ),
        (
            {"tuning/input/imagePullSecrets": ["one", "two"]},
            "tuning.input.imagePullSecrets: one, two; accepted is one Secret, which may have other "
            "keys than .dockerconfigjson too",
        ),
        (
            {
                "tuning/output": {
                    "volumeSource": {"persistentVolumeClaim": {"claimName": "adapters"}},
                    "imagePushSecret": "my-secret",
                }
            },
            "tuning.output.image: missing; accepted is REGISTRY/REPOSITORY:TAG, or "
            "oci:DIRECTORY[:TAG] for an OCI layout on disk; the service and its versions are made "
            "of the image, and tuning.output.volumeSource is a copy",
        ),
        (
            {"tuning/output/volumeSource": {"emptyDir": {}}},
            "tuning.output.volumeSource.emptyDir: it goes with the pod; accepted is "
            "persistentVolumeClaim",
        ),
        (
            {"tuning/output/volumeSource": "adapters"},
            "tuning.output.volumeSource: 'adapters'; accepted is persistentVolumeClaim",
        ),
        (
            {"tuning/output": None},
            "tuning.output.image: missing; accepted is REGISTRY/REPOSITORY:TAG, or "
            "oci:DIRECTORY[:TAG] for an OCI layout on disk",
        ),
        (
            {"tuning/output/image": "registry.example.com/my model:1"},
            "tuning.output.image: 'registry.example.com/my model:1': 'my model' is not a "
            "component of a repository name; ",
        ),
        (
            {"tuning/output/image": "registry.example.com/m@sha256:" + 64 * "a"},
            "tuning.output.image: 'registry.example.com/m@sha256:" + 64 * "a" + "'; accepted is a "
            "tag, because the digest is not known before",
        ),
        (
            {"tuning/output/image": "oci:"},
            "tuning.output.image: 'oci:': a directory is missing; write oci:DIRECTORY or "
            "oci:DIRECTORY:TAG",
        ),
        (
            {"tuning/output/imagePushSecret": None},
            "tuning.output.imagePushSecret: missing; accepted is the name of a Secret of type "
            "kubernetes.io/dockerconfigjson (not needed for oci:DIRECTORY)",
        ),
        (
            {"tuning/output/imagePushSecret": "my secret"},
            "tuning.output.imagePushSecret: 'my secret' is not the name of a Secret, "
            "which has lower-case letters, digits, '-' and '.'",
        ),
        (
            {"inference": {"preset": {"name": "phi-4"}}},
            "inference: accepted is one of tuning and inference, not both",
        ),
        ({"tuning": None}, TUNING),
        (
            {"tuning": None, "inference": {"preset": {"name": "phi-4"}}},
            "inference: this Workspace serves a model without training, and this command is ",
        ),
        ({"tuning": "phi-4"}, "tuning: 'phi-4'; accepted is a mapping"),
    ],
)
def test_wrong_field_is_answered_with_path_value_and_what_is_accepted(
    changes: dict[str, Any], problem: str
) -> None:
    found = problems_of(changed(changes))
    assert found[0].startswith(problem)
    # What is no mapping leaves the fields below it missing.
    assert len(found) == 1 or problem.endswith("is a mapping")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"resource/instanceType": "{{workflow.name}}"}, "resource.instanceType: '{{workflow.n"),
        (
            {"metadata/annotations": {"argotune.dev/question": "{{=1}}"}},
            "metadata.annotations.argotune.dev/question: '{{=1}}'; accepted is a text without "
            "'{{', which Argo would expand",
        ),
        (
            {"metadata/annotations": {"argotune.dev/question": "two\nlines"}},
            "metadata.annotations.argotune.dev/question: 'two\\nlines'; accepted is a text without "
            "control characters, here U+000A",
        ),
        (
            {"tuning/input/urls": ["https://example.com/{{workflow.uid}}"]},
            "tuning.input.urls[0]: 'https://example.com/{{workflow.uid}}': accepted is a text "
            "without '{{', which Argo would expand",
        ),
    ],
)
def test_what_argo_would_expand_or_cannot_carry_is_refused(
    changes: dict[str, Any], path: str
) -> None:
    found = problems_of(changed(changes))
    assert len(found) == 1
    assert found[0].startswith(path)


def test_config_that_argo_would_expand_is_refused() -> None:
    config_map = CONFIG_MAP.replace("r: 8", "r: '{{workflow.uid}}'")
    assert problems_of(changed({"tuning/config": "my-config"}), config_map) == [
        "tuning.config: training_config.yaml: accepted is a text without '{{', which Argo would "
        "expand"
    ]


@pytest.mark.parametrize(
    ("config_map", "problem"),
    [
        (
            CONFIG_MAP.replace("training_config.yaml", "config.yaml"),
            "ConfigMap 'my-config': data: config.yaml; accepted is training_config.yaml",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: my-config}\n",
            "ConfigMap 'my-config': data: none; accepted is training_config.yaml",
        ),
        (
            CONFIG_MAP.replace("training_config.yaml: |", "training_config.yaml:"),
            "ConfigMap 'my-config': data.training_config.yaml: {'training_config': {'LoraConfig': "
            "{'r': 8}}}; accepted is a text, training_config.yaml: |",
        ),
        (
            CONFIG_MAP.replace("name: my-config", "name: my-config\n  namespace: other"),
            "ConfigMap 'my-config': metadata.namespace: 'other'; accepted is the Workspace's, "
            "'team'",
        ),
        (
            CONFIG_MAP + "---\n" + CONFIG_MAP,
            "ConfigMap 'my-config': occurs 2 times; keep one",
        ),
    ],
)
def test_wrong_config_map_is_refused(config_map: str, problem: str) -> None:
    text = changed({"tuning/config": "my-config", "metadata/namespace": "team"})
    assert problems_of(text, config_map) == [problem]


def test_every_problem_comes_in_one_answer_and_then_the_plans() -> None:
    planned: list[Params] = []

    def check_plan(params: Params) -> list[str]:
        planned.append(params)
        return ["training_config.LoraConfig.r: 0; accepted is a whole number from 1 to 512"]

    text = changed(
        {
            "metadata/name": "-",
            "tuning/method": "full",
            "tuning/input/urls": ["ftp://example.com/a", "https://168.63.129.16/b"],
            "tuning/output/imagePushSecret": None,
            "resource/count": 3,
        }
    )
    assert [each.partition(": ")[0] for each in problems_of(text, check_plan=check_plan)] == [
        "tuning.output.imagePushSecret",
        "metadata.name",
        "tuning.method",
        "tuning.input.urls[0]",
        "tuning.input.urls[1]",
        "resource.count",
        "training_config.LoraConfig.r",
    ]
    assert [params.preset for params in planned] == ["phi-4"]


def test_plan_is_not_asked_where_the_files_are_right() -> None:
    def check_plan(params: Params) -> list[str]:
        raise AssertionError(params)

    assert read(WORKSPACE, check_plan=check_plan).name == "my-model"


def test_flags_stand_in_for_fields() -> None:
    workspace = read(
        QUICK_START,
        overrides={
            "name": "other",
            "preset": "tiny",
            "method": "lora",
            "urls": '["https://example.com/a.jsonl", "https://example.com/b.jsonl"]',
            "output-image": "oci:out:2",
            "push-secret": "",
            "instance-type": "",
            "question": "Why?",
            "provider": "local",
        },
    )
    assert (workspace.name, workspace.preset, workspace.method) == ("other", "tiny", "lora")
    assert workspace.urls == ("https://example.com/a.jsonl", "https://example.com/b.jsonl")
    assert workspace.output_image == "oci:/home/user/project/out:2"
    assert workspace.push_secret is None
    assert workspace.instance_type is None
    assert workspace.options == {"question": "Why?", "provider": "local"}
    assert len(workspace.warnings) == 1
    assert workspace.problems_before_submit == ()


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"preset": "nope"}, "--preset: 'nope' is not a model preset; known are "),
        ({"method": "full"}, "--method: 'full'; accepted are lora and qlora"),
        ({"name": "A"}, "--name: 'A'; accepted are lower-case letters, "),
        ({"name": ""}, "--name: missing; accepted is lower-case letters, "),
        ({"urls": "https://x"}, "--url: accepted is a JSON list of URLs, such as "),
        ({"urls": '["ftp://x.com/a"]'}, "--url[0]: 'ftp://x.com/a': accepted are https, http, hf"),
        (
            {"output-image": "a b"},
            "--output-image: 'a b': 'a b' is not a component of a repository",
        ),
        ({"provider": "gcp"}, "--set provider: 'gcp'; accepted is existing or aks or "),
        ({"presets": "phi-4"}, "--set 'presets=phi-4': no setting presets; known are "),
    ],
)
def test_wrong_flag_is_answered_by_its_name(overrides: dict[str, str], problem: str) -> None:
    found = problems_of(WORKSPACE, overrides=overrides)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_plan_gets_what_it_needs() -> None:
    text = changed({"tuning/config": "my-config"})
    assert plan_params(read(text, CONFIG_MAP)) == Params(
        name="my-model",
        preset="phi-4",
        method="lora",
        config="training_config:\n  LoraConfig:\n    r: 8\n",
        instance_type="Standard_NC24ads_A100_v4",
        provider="existing",
    )

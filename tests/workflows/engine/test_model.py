from argotune.workflows.engine.model import Node, NodeType, Phase, display_name, node_id, pod_name


def test_ids_are_argos() -> None:
    # The second one is from a record in Argo's own tests (dag_test.go).
    assert node_id("wf", "wf") == "wf"
    assert node_id("dag-hang-pcwmr", "dag-hang-pcwmr.postprocess") == "dag-hang-pcwmr-1415348083"


def test_pod_names_hold_the_template() -> None:
    assert pod_name("wf", "wf", "main") == "wf"
    assert pod_name("wf", "wf.a", "say") == f"wf-say-{node_id('wf', 'wf.a').split('-')[1]}"
    assert len(pod_name("w" * 63, "x.a", "t" * 300)) <= 253


def test_display_names_leave_the_boundary_out() -> None:
    assert display_name("wf", None) == "wf"
    assert display_name("wf.a(0:x)", "wf") == "a(0:x)"
    assert display_name("wf[1].b", "wf") == "b"
    assert display_name("wf[1]", "wf") == "[1]"


def test_a_node_is_read_back_from_its_status() -> None:
    node = Node(
        "id", "wf.a", "a", NodeType.POD, Phase.FAILED, boundary_id="wf", message="m",
        started_at=1000.0, finished_at=1002.0, progress="1/2", outputs={"exitCode": "1"},
        children=["c"], retried=True,
    )  # fmt: skip
    assert Node.from_status(node.to_status()) == node

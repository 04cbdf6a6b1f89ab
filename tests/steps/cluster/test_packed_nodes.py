from __future__ import annotations

import base64
import gzip
import json

import pytest

from argotune.steps.cluster.packed_nodes import nodes_in

NODES = {"mine": {"phase": "Succeeded"}}


def test_nodes_are_unpacked() -> None:
    packed = base64.b64encode(gzip.compress(json.dumps(NODES).encode())).decode()
    assert nodes_in({"compressedNodes": packed}) == NODES
    assert nodes_in({"nodes": NODES}) == NODES
    assert nodes_in({"nodes": None, "offloadNodeStatusVersion": "fnv:1"}) == {}


@pytest.mark.parametrize("text", ["x", base64.b64encode(b"no gzip").decode()])
def test_what_is_not_packed_is_an_error(text: str) -> None:
    with pytest.raises((OSError, ValueError)):
        nodes_in({"compressedNodes": text})

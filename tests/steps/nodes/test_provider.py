from __future__ import annotations

import subprocess
import sys
import typing
from typing import get_args

import pytest

from argotune.steps.nodes.providers import load_provider
from argotune.steps.provision.params import Params as ProvisionParams
from argotune.steps.release.params import Params as ReleaseParams

NAMES = get_args(typing.get_type_hints(ProvisionParams)["provider"])


@pytest.mark.parametrize("name", NAMES)
def test_every_provider_can_be_loaded(name: str) -> None:
    provider = load_provider(name)
    assert callable(provider.provision)
    assert callable(provider.release)


def test_provision_and_release_know_the_same_providers() -> None:
    assert get_args(typing.get_type_hints(ReleaseParams)["provider"]) == NAMES
    assert NAMES


def test_this_machine_needs_no_cluster_client() -> None:
    code = (
        "import sys\n"
        "import argotune.steps.provision.run, argotune.steps.release.run\n"
        "import argotune.steps.deploy.run\n"
        "from argotune.steps.nodes.providers import load_provider\n"
        "load_provider('local')\n"
        "sys.exit('kubernetes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0

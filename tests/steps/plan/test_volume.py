from __future__ import annotations

import msgspec
import pytest

from argotune.steps.plan.planning import DATA_GIB, volume_gib
from tests.fakes.plans import small_plan


@pytest.mark.parametrize(("lora_gb", "more_gib"), [(0.01, 1), (0.4, 2), (10.0, 38)])
def test_a_volume_holds_the_data_and_three_checkpoints_beside_the_adapter(
    lora_gb: float, more_gib: int
) -> None:
    plan = small_plan()
    memory = msgspec.structs.replace(plan.memory, lora_gb=lora_gb)
    assert volume_gib(msgspec.structs.replace(plan, memory=memory)) == DATA_GIB + more_gib

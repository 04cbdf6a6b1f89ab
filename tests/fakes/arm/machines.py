"""Real nodes for pools, by the commands of tests/fakes/nodes.py."""

from __future__ import annotations

from tests.fakes.arm.state import Pool
from tests.fakes.nodes import Commands, Machine


class Machines:
    """The machines of a cloud's pools; `Cloud` calls both, and waits."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._machines: dict[str, Machine] = {}

    def bring(self, pool: Pool) -> None:
        """Bring a pool's node as AKS labels and taints it."""
        machine = self._machines[pool.node] = Machine(pool.node, self._commands)
        properties = pool.body["properties"]
        labels = {
            "agentpool": pool.name,
            "node.kubernetes.io/instance-type": properties["vmSize"],
            **(properties.get("nodeLabels") or {}),
        }
        gpus = {"nvidia.com/gpu": pool.creation.gpus} if pool.creation.gpus else {}
        machine.start(labels, properties.get("nodeTaints") or [], gpus)
        machine.wait_until_up()

    def take_away(self, pool: Pool) -> None:
        """Take a pool's node away with all that runs there."""
        machine = self._machines.pop(pool.node, None)
        if machine is not None:
            machine.take_down()

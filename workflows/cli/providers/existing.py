"""Provider existing, for the command line: nodes that the cluster has."""

from __future__ import annotations

from argotune.workflows.cli.checks import gpus
from argotune.workflows.cli.checks.subject import Check
from argotune.workflows.cli.outlook.nodes import outlook_by
from argotune.workflows.cli.providers.description import ProviderCommands

COMMANDS = ProviderCommands(print_outlook=outlook_by(Check("gpu", "the GPU nodes", gpus.nodes)))

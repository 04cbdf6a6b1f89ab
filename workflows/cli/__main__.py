"""python -m argotune.workflows.cli: the same as the command argotune."""

from argotune.workflows.cli.main import main

main()

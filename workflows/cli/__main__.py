"""python -m workflows.cli: the same as the command argotune."""

from workflows.cli.main import main

main()

"""``python -m timesight``: the command line, for launchers that start a module on several cards."""

from timesight.cli import main

main()

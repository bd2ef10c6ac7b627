"""``python -m timesight``: the command line, for launchers that start a module on several GPUs."""

from timesight.cli import main

main()

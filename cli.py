"""Run from a checkout without installing: `python cli.py train push_x`."""

from skillkit.cli import main

main()

"""`python -m edgefr`."""

from edgefr.cli import main

main()

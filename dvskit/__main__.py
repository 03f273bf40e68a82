"""`python -m dvskit`: the command line."""

from dvskit.cli import main

main()

"""``python -m sbmlang.cli``: the command line without its script."""

from sbmlang.cli.app import main

main()

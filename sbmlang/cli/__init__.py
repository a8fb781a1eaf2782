"""The command line: ``sbm``. All printing of the program happens in this package."""

from sbmlang.cli.app import main

__all__ = ["main"]

"""The parts of a generated program that all array libraries share, in words that a ``Dialect`` gives."""

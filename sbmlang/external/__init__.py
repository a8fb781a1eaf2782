"""Simulators outside the model file: the only room that runs code which a model file names."""

from sbmlang.external.outside import Outside

__all__ = ["Outside"]

"""From the syntax tree to the symbolic model: names, units, indices, supports, and what belongs together."""

from sbmlang.check.assemble import Checked, check

__all__ = ["Checked", "check"]

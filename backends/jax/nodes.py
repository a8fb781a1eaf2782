"""The nodes of a path (``sbmlang.data.nodes``) as an argument of compiled functions."""

from __future__ import annotations

from dataclasses import fields

import jax

from sbmlang.data.nodes import Nodes, nodes

jax.tree_util.register_dataclass(Nodes, [f.name for f in fields(Nodes)], [])

__all__ = ["Nodes", "nodes"]

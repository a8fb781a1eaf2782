"""Plain containers of arrays as files of weights may hold them: with tensors in place of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def tensors(tree: Any) -> Any:
    """Dicts and lists with a tensor for every array."""
    match tree:
        case Mapping():
            return {n: tensors(v) for n, v in tree.items()}
        case list() | tuple():
            return [tensors(v) for v in tree]
        case np.ndarray():
            return torch.as_tensor(tree.copy())
        case np.generic():
            return tree.item()
        case _:
            return tree


def arrays(tree: Any) -> Any:
    """The way back."""
    match tree:
        case Mapping():
            return {n: arrays(v) for n, v in tree.items()}
        case list():
            return [arrays(v) for v in tree]
        case torch.Tensor():
            return tree.numpy()
        case _:
            return tree

"""Find the maps in a network's graph that describe objects.

A role names a map by its place in the network, so one rule finds it in every family: ``deep32`` is the map of
stride 32 that is enlarged first, where the backbone ends and the neck begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rtsearch.models.view import GraphView

__all__ = ["ROLES", "Found", "find_taps"]

_ENLARGING = ("ConvTranspose", "Resize", "Upsample")
ROLES = ("deep32",)
"""Roles of the maps that describe objects, in every family."""


@dataclass(frozen=True)
class Found:
    """Tensor of the graph that has a role.

    Attributes:
        role: name of the role.
        tensor: name of the tensor.
        stride: number of input pixels per cell.
        channels: number of values per cell.
    """

    role: str
    tensor: str
    stride: int
    channels: int


def find_taps(view: GraphView, roles: Iterable[str]) -> list[Found]:
    """Return the tensors that have the roles, in the same order; roles that the graph lacks are left out.

    Args:
        view: the graph.
        roles: names as in the docstring of this module, ``deep`` and a stride.

    Raises:
        ValueError: no role has that name.
    """
    found = []
    for role in roles:
        match = re.fullmatch(r"deep(\d+)", role)
        if match is None:
            raise ValueError(f"no such role of a map: {role}")
        stride = int(match[1])
        if tensor := _first_enlarged(view, stride):
            found.append(Found(role, tensor, stride, view.shape(tensor)[1]))
    return found


def _first_enlarged(view: GraphView, stride: int) -> str:
    """Return the first map of a stride that is enlarged; "" where none is."""
    for node in view.nodes:
        if node.op_type in _ENLARGING and view.stride(node.input[0]) == stride:
            return str(node.input[0])
    return ""

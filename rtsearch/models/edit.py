"""Edit graphs: sort nodes, rename tensors, select the nodes that outputs need."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import onnx

from rtsearch.errors import ModelError

__all__ = ["needed", "reads", "rename", "sort"]


def sort(graph: onnx.GraphProto) -> None:
    """Sort nodes after those they read from, which ONNX requires and some converters neglect."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    missing = [len({makers[name] for name in reads(node) if name in makers}) for node in graph.node]
    readers: dict[int, set[int]] = {}
    for i, node in enumerate(graph.node):
        for name in reads(node):
            if name in makers:
                readers.setdefault(makers[name], set()).add(i)
    ready = [i for i, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers.get(order[-1], ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if len(order) != len(graph.node):
        raise ModelError("the graph goes round in a circle")
    nodes = [graph.node[i] for i in order]
    del graph.node[:]
    graph.node.extend(nodes)


def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename tensors wherever they are written or read."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _branches(node):
            rename(inner, names)
    for entry in (*graph.initializer, *graph.output):
        entry.name = names.get(entry.name, entry.name)


def needed(graph: onnx.GraphProto, outputs: list[str]) -> list[onnx.NodeProto]:
    """Return the nodes of a sorted graph that some outputs depend on."""
    wanted = set(outputs)
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(reads(node))
            kept.append(node)
    return kept[::-1]


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, also in its branches and loop bodies."""
    yield from node.input
    for inner in _branches(node):
        for step in inner.node:
            yield from reads(step)


def _branches(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs

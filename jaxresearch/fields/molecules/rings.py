"""Rings of graphs given as pairs of nodes; NumPy on the host."""

import collections

import numpy as np
from jaxtyping import Bool, Int

LARGEST = 8  # the size that also stands for all larger rings


def neighbours(n_nodes: int, edges: Int[np.ndarray, "edges 2"]) -> list[list[tuple[int, int]]]:
    """Returns the neighbours of each node, each with the edge that leads to it.

    Args:
        n_nodes: Number of nodes.
        edges: Pairs of nodes.

    Returns:
        Pairs of node and edge, by node.

    Example:
        >>> neighbours(3, np.array([[0, 1], [1, 2]]))
        [[(1, 0)], [(0, 0), (2, 1)], [(1, 1)]]
    """
    found: list[list[tuple[int, int]]] = [[] for _ in range(n_nodes)]
    for edge, (one, other) in enumerate(edges.tolist()):
        found[one].append((other, edge))
        found[other].append((one, edge))
    return found


def n_parts(n_nodes: int, edges: Int[np.ndarray, "edges 2"]) -> int:
    """Returns the number of connected parts.

    Args:
        n_nodes: Number of nodes.
        edges: Pairs of nodes.

    Returns:
        0 for no nodes.

    Example:
        >>> n_parts(4, np.array([[0, 1], [1, 2]]))
        2
    """
    beside, seen, n_found = neighbours(n_nodes, edges), [False] * n_nodes, 0
    for start in range(n_nodes):
        n_found += not seen[start]
        waiting = [] if seen[start] else [start]
        seen[start] = True
        while waiting:
            for other, _ in beside[waiting.pop()]:
                if not seen[other]:
                    seen[other] = True
                    waiting.append(other)
    return n_found


def ring_bonds(n_nodes: int, edges: Int[np.ndarray, "edges 2"]) -> Bool[np.ndarray, " edges"]:
    """Returns which edges are in a ring: all but the bridges.

    Args:
        n_nodes: Number of nodes.
        edges: Pairs of nodes, each pair once.

    Returns:
        One boolean per edge.

    Example:
        >>> ring_bonds(4, np.array([[0, 1], [1, 2], [2, 0], [2, 3]])).tolist()
        [True, True, True, False]

    References:
        Tarjan (1974), A note on finding the bridges of a graph, Inf. Process. Lett. 2(6).
        https://doi.org/10.1016/0020-0190(74)90003-9
    """
    beside, order, low = neighbours(n_nodes, edges), [-1] * n_nodes, [0] * n_nodes
    in_ring, n_seen = np.ones(len(edges), bool), 0
    for root in range(n_nodes):
        if order[root] >= 0:
            continue
        path = [(root, -1, iter(beside[root]))]
        order[root] = low[root] = n_seen
        n_seen += 1
        while path:
            node, came_by, following = path[-1]
            other, edge = next(following, (-1, -1))
            if other < 0:
                path.pop()
                if path:
                    parent = path[-1][0]
                    low[parent] = min(low[parent], low[node])
                    in_ring[came_by] = low[node] <= order[parent]
            elif order[other] < 0:
                order[other] = low[other] = n_seen
                n_seen += 1
                path.append((other, edge, iter(beside[other])))
            elif edge != came_by:
                low[node] = min(low[node], order[other])
    return in_ring


def smallest_rings(
    n_nodes: int, edges: Int[np.ndarray, "edges 2"], in_ring: Bool[np.ndarray, " edges"]
) -> Int[np.ndarray, " edges"]:
    """Returns the size of the smallest ring that each edge is in.

    Args:
        n_nodes: Number of nodes.
        edges: Pairs of nodes.
        in_ring: From `ring_bonds`.

    Returns:
        The number of nodes of that ring, 3 or more; `LARGEST` for it and all larger ones; 0 outside rings.

    Example:
        >>> smallest_rings(3, np.array([[0, 1], [1, 2], [2, 0]]), np.ones(3, bool)).tolist()
        [3, 3, 3]
    """
    beside, sizes = neighbours(n_nodes, edges), np.zeros(len(edges), np.int32)
    for edge in np.flatnonzero(in_ring).tolist():
        start, goal = edges[edge].tolist()
        distances, waiting = {start: 1}, collections.deque([start])
        while waiting and goal not in distances and distances[waiting[0]] < LARGEST - 1:
            node = waiting.popleft()
            for other, by in beside[node]:
                if by != edge and other not in distances:
                    distances[other] = distances[node] + 1
                    waiting.append(other)
        sizes[edge] = distances.get(goal, LARGEST)
    return sizes

"""The skeleton as a graph: hop distances and the adjacency matrices a graph convolution sums over.

A graph convolution with P partitions computes ``sum_p w_p * x @ A_p`` along the joint axis; the partitions decide which
neighbours share a weight. The three strategies are those of ST-GCN (Yan et al., AAAI 2018, section 3.3).
"""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor

from pose.skeleton import CENTER, EDGES, NUM_JOINTS

Partition = Literal["uniform", "distance", "spatial"]

MAX_HOP: Final = 8
"""The longest path of the skeleton; with this reach every joint sees every other."""


def hop_distances() -> Tensor:
    """Number of bones on the shortest path between any two joints.

    Returns:
        Shape ``(18, 18)``, int64, symmetric, zero on the diagonal.
    """
    distances = torch.full((NUM_JOINTS, NUM_JOINTS), NUM_JOINTS, dtype=torch.int64)
    distances.fill_diagonal_(0)
    for a, b in EDGES:
        distances[a, b] = distances[b, a] = 1
    for via in range(NUM_JOINTS):
        distances = torch.minimum(distances, distances[:, via, None] + distances[None, via, :])
    return distances


def adjacency(partition: Partition, max_hop: int) -> Tensor:
    """Column-normalised adjacency ``A D^-1`` of all joints within reach, split into partitions.

    Entry ``[p, v, w]`` weighs joint v in the sum at joint w. Over all partitions each column sums to one, so without
    weights the convolution is the mean over the neighbourhood, the joint itself included.

    Args:
        partition: ``uniform``: one set; ``distance``: one set per hop count; ``spatial``: the joint itself, then for
            each hop count the neighbours not nearer to the neck than the joint (in ST-GCN's words centripetal, with
            those at equal distance) and those nearer (centrifugal).
        max_hop: Reach in bones, 1 to 8.

    Returns:
        Shape ``(P, 18, 18)``, float32, with P = 1, ``max_hop + 1`` or ``2 max_hop + 1``.

    Raises:
        ValueError: `max_hop` is out of range.
    """
    if not 1 <= max_hop <= MAX_HOP:
        raise ValueError(f"max_hop must lie in 1..{MAX_HOP}, got {max_hop}")
    distances = hop_distances()
    reach = (distances <= max_hop).to(torch.float32)
    normalised = reach / reach.sum(dim=0, keepdim=True)
    if partition == "uniform":
        return normalised[None]
    rings = [(distances == hop).to(torch.float32) for hop in range(max_hop + 1)]
    if partition == "spatial":
        nearer = (distances[:, CENTER, None] < distances[None, :, CENTER]).to(torch.float32)
        rings = rings[:1] + [half for ring in rings[1:] for half in (ring * (1 - nearer), ring * nearer)]
    return normalised * torch.stack(rings)

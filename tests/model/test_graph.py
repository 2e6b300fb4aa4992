import pytest
import torch

from model.graph import MAX_HOP, adjacency, hop_distances
from pose.skeleton import EDGES, JOINTS, NUM_JOINTS


def test_the_longest_path_of_the_skeleton_has_eight_bones() -> None:
    distances = hop_distances()
    assert distances.max() == MAX_HOP
    assert torch.equal(distances, distances.T)
    assert all(distances[a, b] == 1 for a, b in EDGES)
    assert distances[JOINTS.index("left_wrist"), JOINTS.index("right_wrist")] == 6


def test_uniform_reach_over_all_bones_is_one_eighteenth_everywhere() -> None:
    torch.testing.assert_close(adjacency("uniform", 8), torch.full((1, NUM_JOINTS, NUM_JOINTS), 1 / 18))


@pytest.mark.parametrize(
    ("partition", "max_hop", "count"),
    [
        ("uniform", 1, 1),
        ("uniform", 8, 1),
        ("distance", 1, 2),
        ("distance", 8, 9),
        ("spatial", 1, 3),
        ("spatial", 3, 7),
    ],
)
def test_partitions_split_the_neighbourhood_and_each_column_sums_to_one(
    partition: str, max_hop: int, count: int
) -> None:
    matrices = adjacency(partition, max_hop)
    assert matrices.shape == (count, NUM_JOINTS, NUM_JOINTS)
    torch.testing.assert_close(matrices.sum(dim=(0, 1)), torch.ones(NUM_JOINTS))
    torch.testing.assert_close(matrices.sum(dim=0), adjacency("uniform", max_hop)[0])
    assert ((matrices > 0).sum(dim=0) <= 1).all()


def test_the_distance_partition_keeps_a_joint_apart_from_its_neighbours() -> None:
    own, neighbours = adjacency("distance", 1)
    assert torch.equal(own > 0, torch.eye(NUM_JOINTS, dtype=torch.bool))
    assert {(v, w) for v, w in (neighbours > 0).nonzero().tolist()} == {*EDGES, *((b, a) for a, b in EDGES)}


def test_the_spatial_partition_parts_neighbours_nearer_to_the_neck_from_the_others() -> None:
    _, centripetal, centrifugal = adjacency("spatial", 1)
    elbow, shoulder, wrist = (JOINTS.index(f"left_{name}") for name in ("elbow", "shoulder", "wrist"))
    assert centrifugal[shoulder, elbow] > 0
    assert centripetal[wrist, elbow] > 0


@pytest.mark.parametrize("max_hop", [0, 9, -1])
def test_an_impossible_reach_is_refused(max_hop: int) -> None:
    with pytest.raises(ValueError, match=r"max_hop must lie in 1\.\.8"):
        adjacency("uniform", max_hop)

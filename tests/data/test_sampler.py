"""The order of images: permutations, shares of processes, resuming, grouping."""

from itertools import islice

import pytest

from dense_ssl.data.sampler import GroupedBatchSampler, InfiniteBatchSampler

KINDS = [index % 3 == 0 for index in range(30)]  # a third portrait


def take(batches, count):
    return list(islice(batches, count))


def batches_of(*args, start=0, **kwargs):
    batches = InfiniteBatchSampler(*args, **kwargs)
    batches.start = start
    return batches


def grouped(start=0, seed=1, rank=0, world_size=1):
    batches = GroupedBatchSampler(InfiniteBatchSampler(30, 4, seed, rank, world_size), KINDS)
    batches.start = start
    return batches


@pytest.mark.parametrize("images, batch", [(12, 4), (10, 4), (7, 10), (3, 8)])
def test_the_order_is_permutation_after_permutation(images, batch):
    items = [x for items in take(batches_of(images, batch, seed=0), 5 * images) for x in items]
    assert [position for position, _ in items] == list(range(len(items)))
    epochs = [
        [index for _, index in items[i : i + images]]
        for i in range(0, len(items) - images + 1, images)
    ]
    assert len(epochs) >= 5
    assert all(sorted(x) == list(range(images)) for x in epochs)
    assert len(set(map(tuple, epochs))) > 1  # a new order each time


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_each_global_batch(world_size):
    whole = take(batches_of(10, 8, 3), 9)
    shares = [take(batches_of(10, 8, 3, rank, world_size), 9) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        assert [x for share in shares for x in share[number]] == batch
        assert {len(share[number]) for share in shares} == {8 // world_size}


def test_start_leaves_out_that_many_batches():
    for rank in range(2):
        whole = take(batches_of(10, 4, 5, rank, 2), 12)
        for start in (0, 1, 3, 7):
            assert take(batches_of(10, 4, 5, rank, 2, start=start), 5) == whole[start : start + 5]


def test_iterating_again_starts_again():
    batches = batches_of(10, 4, 5)
    assert take(batches, 3) == take(batches, 3)


def test_the_order_follows_from_the_seed():
    orders = {str(take(batches_of(20, 4, seed), 5)) for seed in range(5)}
    assert len(orders) == 5
    late = InfiniteBatchSampler(20, 4, seed=0)
    late.seed = 4  # as a resumed run sets it
    assert take(late, 5) == take(batches_of(20, 4, 4), 5)


def test_a_batch_that_cannot_be_shared_names_its_keys():
    with pytest.raises(ValueError, match="SOLVER.IMS_PER_BATCH.*SOLVER.ACCUMULATE"):
        InfiniteBatchSampler(10, 7, 0, 0, 2)


def test_grouped_batches_hold_one_kind_and_lose_no_image():
    batches = take(grouped(), 60)
    for batch in batches:
        assert len(batch) == 4 and len({KINDS[index] for _, index in batch}) == 1
    assert {KINDS[batch[0][1]] for batch in batches} == {True, False}
    in_order = [x for items in take(InfiniteBatchSampler(30, 4, 1), 70) for x in items]
    for kind in (True, False):  # each kind in the order of the sampler, from its first image on
        given = [x for batch in batches for x in batch if KINDS[x[1]] == kind]
        assert len(given) >= 60
        assert given == [x for x in in_order if KINDS[x[1]] == kind][: len(given)]


def test_grouped_batches_continue_after_skipped_ones():
    for rank in range(2):
        whole = take(grouped(rank=rank, world_size=2), 40)
        for start in (1, 5, 20):
            assert take(grouped(start, rank=rank, world_size=2), 15) == whole[start : start + 15]


def test_grouped_processes_hold_different_images():
    first, second = (
        {x for batch in take(grouped(rank=rank, world_size=2), 40) for x in batch}
        for rank in range(2)
    )
    assert not first & second


def test_the_seed_of_grouped_batches_is_that_of_the_batches_of():
    batches = grouped(seed=1)
    other = take(grouped(seed=2), 10)
    assert batches.seed == 1 and take(batches, 10) != other
    batches.seed = 2
    assert batches.sampler.seed == 2 and take(batches, 10) == other

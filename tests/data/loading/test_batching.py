"""A last batch of one image joins the batch before: batch norm has no statistics of one."""

import pytest
import torch

from ddkit.data.loading.batching import batch_count, batches_of


@pytest.mark.parametrize(
    ("images", "size", "sizes"),
    [
        (9, 4, [4, 5]),
        (8, 4, [4, 4]),
        (10, 4, [4, 4, 2]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
        (0, 4, []),
    ],
)
def test_batches(images, size, sizes):
    order = torch.randperm(images, generator=torch.Generator().manual_seed(0))
    parts = batches_of(order, size)
    assert [len(part) for part in parts] == sizes
    assert batch_count(images, size) == len(sizes)
    assert torch.equal(torch.cat([torch.arange(0), *parts]), order)

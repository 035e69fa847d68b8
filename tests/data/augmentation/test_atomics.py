"""Gradients of images are the same bytes each time on CUDA: nothing is added in any order.

A CPU adds in one order always, so it is the operations that are looked at: none may be called that
adds several values to one place, which CUDA does in whatever order its threads come by.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ddkit.data.augmentation.augment import draw_boxes, draw_flips, resample
from ddkit.data.augmentation.dsa import DSA_STRATEGY, OPERATIONS, apply_dsa, draw_dsa

ADDING = {
    "grid_sampler_2d_backward",
    "scatter_add",
    "scatter_add_",
    "scatter_reduce",
    "scatter_reduce_",
    "index_add",
    "index_add_",
    "index_reduce",
    "index_reduce_",
    "put",
    "put_",
    "unfold_backward",
    "embedding_dense_backward",
    "_embedding_bag_backward",
    "_embedding_bag_dense_backward",
    "upsample_bilinear2d_backward",
    "_upsample_bilinear2d_aa_backward",
    "upsample_nearest2d_backward",
    "replication_pad2d_backward",
    "reflection_pad2d_backward",
    "_adaptive_avg_pool2d_backward",
}
WHERE_TOLD = {"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}


class NoAtomics(TorchDispatchMode):
    """Fails where an operation is called that adds several values to one place."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name, kwargs = func._schema.name.removeprefix("aten::"), kwargs or {}
        adds = name in WHERE_TOLD and (kwargs.get("accumulate") or (len(args) > 3 and args[3]))
        if name in ADDING or adds:
            raise AssertionError(f"{name} adds several values to one place")
        return func(*args, **kwargs)


def differentiate_twice(function) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 3, 8, 11, generator=generator).requires_grad_()
    with NoAtomics():
        (slope,) = torch.autograd.grad((function(images) ** 3).sum(), images, create_graph=True)
        assert slope.any()
        torch.autograd.grad((slope**2).sum(), images)


@pytest.mark.parametrize("strategy", [*OPERATIONS, DSA_STRATEGY])
def test_dsa_adds_nothing_in_any_order(strategy):
    generator = torch.Generator().manual_seed(1)
    parameters = draw_dsa(6, (8, 11), generator, strategy=strategy, mode="multiple")
    differentiate_twice(lambda images: apply_dsa(images, parameters))


def test_resampling_adds_nothing_in_any_order():
    generator = torch.Generator().manual_seed(1)
    boxes, flips = draw_boxes(6, (8, 11), generator), draw_flips(6, generator)
    differentiate_twice(lambda images: resample(images, boxes, flips))


@pytest.mark.parametrize(
    "found",
    [
        lambda images: images.gather(0, torch.zeros_like(images, dtype=torch.int64)),
        lambda images: images.index_select(0, torch.tensor([0, 0])),
        lambda images: images[torch.tensor([0, 0])],
        lambda images: torch.nn.functional.grid_sample(
            images, torch.zeros(6, 8, 11, 2), align_corners=False
        ),
    ],
)
def test_what_adds_in_any_order_is_found(found):
    with pytest.raises(AssertionError, match="adds several values to one place"):
        differentiate_twice(found)

"""What operations cost on CUDA and not on a CPU: a host that waits, bytes that differ from run to
run, products that round.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tag, Tensor

Rule = Callable[..., str | None]
"""Arguments of an operation, with tensors of the CPU → what it costs, or None."""

INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")
TAKE_NUMBERS = ("_foreach", "where", "masked_fill", "fill", "index_fill", "lerp", "clamp")
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot")
CONVOLUTIONS = ("convolution", "convolution_backward")


class Operation:
    """What is known of an operation whatever it is called with.

    Attributes:
        name: as torch dispatches it, such as "scatter_add_".
        changes: whether it writes into its arguments; `reshapes`: whether it is a view in place.
        draws: whether it draws random numbers.
        indexes: whether it takes its first argument at indices.
        takes_numbers: whether numbers (0-dim) of the CPU are as good as those of the device.
    """

    def __init__(self, func: Any) -> None:
        self.func = func
        self.name: str = func._schema.name.removeprefix("aten::")
        self.changes: bool = func._schema.is_mutable
        self.reshapes = Tag.inplace_view in func.tags
        self.views: bool = func.is_view
        self.draws = Tag.nondeterministic_seeded in func.tags
        self.indexes = self.name in INDEXING
        self.takes_numbers = Tag.pointwise in func.tags or self.name.startswith(TAKE_NUMBERS)

    @cached_property
    def waits(self) -> Callable[..., str | None] | None:
        """The rule by which the host waits for the device; of `index`, given all as it is.

        It waits where it must know values: to return a number, or how large a result is. torch
        tags such operations. Copies are another matter.
        """
        if self.indexes:
            return partial(_indexing, self.name)
        tags = (Tag.data_dependent_output, Tag.dynamic_output_shape)
        if self.name == "repeat_interleave":
            return _repetition
        if any(tag in self.func.tags for tag in tags) or self.name == "_linalg_check_errors":
            return _always("item" if self.name == "_local_scalar_dense" else self.name)
        return None

    @cached_property
    def meets(self) -> Rule | None:
        """The rule by which bytes depend on the order in which threads come; see below."""
        name = self.name.removesuffix("_")
        if name in NO_OTHER_WAY:
            return _always(name)
        if name in SOMETIMES:
            return SOMETIMES[name]
        rule = _always(name) if name in BY_DEFAULT else UNLESS_TOLD.get(name)
        return None if rule is None else partial(_unless_told, rule)

    @cached_property
    def rounds(self) -> Rule | None:
        """The rule by which products round: "mm in tf32", say; "ieee" is float32."""
        names = PRODUCTS + CONVOLUTIONS
        return partial(_rounding, self.name) if self.name in names else None


def _always(what: str) -> Rule:
    return lambda *args, **kwargs: what


def _repetition(repeats: Tensor, output_size: int | None = None) -> str | None:
    return "repeat_interleave" if output_size is None else None


def _indexing(
    name: str,
    values: Tensor,
    indices: Sequence[Tensor | None],
    source: Tensor | None = None,
    *others: Any,
) -> str | None:
    """A mask is made to indices, a number of them; indices of the host are copied, and waited for.

    But for a number that is put where a mask says so: that is `masked_fill`.
    """
    given = [index for index in indices if index is not None]
    masks = [index for index in given if index.dtype in (torch.bool, torch.uint8)]
    number = source is not None and source.device.type == "cpu" and source.numel() == 1
    if number and len(masks) == len(given) == 1 and masks[0].device == values.device:
        return None
    if masks:
        return f"{name} by a mask"
    if any(index.device != values.device for index in given):
        return f"{name} by indices on the CPU"
    return f"{name} of a number, which is copied to the device" if number else None


def _rounding(name: str, *args: Any, **kwargs: Any) -> str:
    dtype = next(value.dtype for value in args if isinstance(value, Tensor))
    if dtype != torch.float32:
        return f"{name} in {str(dtype).removeprefix('torch.')}"
    kind = torch.backends.cudnn.conv if name in CONVOLUTIONS else torch.backends.cuda.matmul
    return f"{name} in {kind.fp32_precision.replace('none', 'ieee')}"


# Several threads that add to, or write to, one place do so in whatever order they come. Here are
# the two lists in the documentation of `torch.use_deterministic_algorithms`, by the names that
# torch dispatches: `gather` and `index_select` are differentiated to `scatter_add` and `index_add`,
# bilinear `interpolate` to `upsample_bilinear2d_backward`. Not in the lists, for they are
# deterministic on CUDA: `index_put` that accumulates, which sorts, and so the backward of
# `images[rows]`; `nll_loss` of classes, other than that of pixels; the backward of `avg_pool2d`.

# the second list: torch has no deterministic kernel, whatever it is told
NO_OTHER_WAY = {
    "grid_sampler_3d_backward",
    "avg_pool3d_backward",
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward",
    "max_unpool2d",
    "max_unpool3d",
    "upsample_linear1d_backward",
    "upsample_bilinear2d_backward",
    "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward",
    "_upsample_bilinear2d_aa_backward",
    "_upsample_bicubic2d_aa_backward",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "reflection_pad3d_backward",
    "nll_loss2d_forward",
    "nll_loss2d_backward",
    "_ctc_loss_backward",
    "put",
    "histc",
}

# the first list: another kernel is taken where torch is told to be deterministic
BY_DEFAULT = {
    "replication_pad1d_backward",
    "replication_pad2d_backward",
    "replication_pad3d_backward",
    "embedding_dense_backward",
    "max_pool3d_with_indices_backward",
}


def _unless_told(rule: Rule, *args: Any, **kwargs: Any) -> str | None:
    return None if torch.are_deterministic_algorithms_enabled() else rule(*args, **kwargs)


def _grid_sampler(grad: Tensor, images: Tensor, *others: Any) -> str | None:
    return "grid_sampler_2d_backward" if others[-1][0] else None  # that of the grid adds nothing


def _max_pool(
    grad: Tensor, images: Tensor, kernel: Sequence[int], stride: Sequence[int], *others: Any
) -> str | None:
    """Contiguous, a thread gathers what its pixel gets; channels-last, windows that overlap add."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    overlap = any(s < k for s, k in zip(stride or kernel, kernel, strict=True))
    return "max_pool2d_with_indices_backward in channels-last" if last and overlap else None


def _bincount(rows: Tensor, weights: Tensor | None = None, least: int = 0) -> str | None:
    return None if weights is None else "bincount with weights"


def _median(values: Tensor, dim: int | None = None, keepdim: bool = False) -> str | None:
    return None if dim is None else "median with indices"


def _convolution(*args: Any) -> str | None:
    if torch.backends.cudnn.benchmark:
        return "a convolution whose algorithm a clock chooses (cudnn.benchmark)"
    return None if torch.backends.cudnn.deterministic else "a convolution (cudnn.deterministic)"


def _cumsum(values: Tensor, *args: Any, **kwargs: Any) -> str | None:
    return "cumsum" if values.is_floating_point() else None


def _scatter_add(
    values: Tensor, dim: int, index: Tensor, source: Tensor, *args: Any, **kwargs: Any
) -> str | None:
    return _met("scatter_add", _counts(values).scatter_add(dim, index, (source != 0).int()))


def _index_add(
    values: Tensor, dim: int, index: Tensor, source: Tensor, **kwargs: Any
) -> str | None:
    return _met("index_add", _counts(values).index_add(dim, index, (source != 0).int()))


def _index_copy(values: Tensor, dim: int, index: Tensor, source: Tensor) -> str | None:
    return _met("index_copy", _counts(values).index_add(dim, index, _ones(source)))


def _index_put(
    values: Tensor,
    indices: Sequence[Tensor | None],
    source: Tensor,
    accumulate: bool = False,
    *others: Any,
) -> str | None:
    if accumulate or source.numel() == 1:  # sorted; or the same number, whoever comes last
        return None
    return _met("index_put", _counts(values).index_put_(indices, _ones(source), accumulate=True))


def _scatter(
    values: Tensor, dim: int, index: Tensor, source: Any, *args: Any, **kwargs: Any
) -> str | None:
    if not isinstance(source, Tensor):
        return None
    return _met("scatter", _counts(values).scatter_add(dim, index, _ones(index)))


def _met(name: str, counts: Tensor) -> str | None:
    """Values that are alone in their place, and zeros, are added in any order alike."""
    return f"{name} of several values in one place" if counts.numel() and counts.max() > 1 else None


def _counts(values: Tensor) -> Tensor:
    return torch.zeros_like(values, dtype=torch.int32)


def _ones(like: Tensor) -> Tensor:
    return torch.ones_like(like, dtype=torch.int32)


SOMETIMES: dict[str, Rule] = {
    "grid_sampler_2d_backward": _grid_sampler,
    "max_pool2d_with_indices_backward": _max_pool,
    "bincount": _bincount,
    "median": _median,
}
UNLESS_TOLD: dict[str, Rule] = {
    "convolution": _convolution,
    "convolution_backward": _convolution,
    "cumsum": _cumsum,
    "scatter_add": _scatter_add,
    "scatter_reduce": _scatter_add,
    "index_add": _index_add,
    "index_copy": _index_copy,
    "index_put": _index_put,
    "_index_put_impl": _index_put,
    "scatter": _scatter,
}

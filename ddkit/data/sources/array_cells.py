"""Images in cells that are lists of numbers: arrays of `datasets`, of .npz files, nested lists.

A cell is (height, width), (height, width, 1 or 3) or (1 or 3, height, width), of integers 0 … 255.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from ddkit.data.sources.columns import is_list
from ddkit.runtime.errors import DdkitError

Array = npt.NDArray[Any]


def picture(cell: Any, place: str) -> bytes | None:
    """Return the image of a pyarrow list as a PGM or PPM file; None where there is none.

    Raises `DdkitError` for a cell of another form.
    """
    if cell.values is None:
        return None
    array = _array(cell.values)
    if array is None:
        raise DdkitError(f"{place} has an image whose rows differ in length")
    if not array.size:
        return None
    array = _channels_last(array, array.ndim)
    height, width, *channels = array.shape
    if channels not in ([], [1], [3]):
        raise DdkitError(
            f"{place} has an image of shape {array.shape}: it should be (height, width), "
            "(height, width, 1 or 3) or (1 or 3, height, width)"
        )
    if not _are_bytes(array):
        raise DdkitError(
            f"{place} has pixels from {array.min()} to {array.max()}: they should be 0 to 255, "
            "and none missing"
        )
    header = f"P{6 if channels == [3] else 5} {width} {height} 255\n"
    return header.encode() + array.astype(np.uint8, copy=False).tobytes()


def pictures(cells: Any) -> Array | None:
    """Return the images of many cells, uint8 (N, 1 or 3, height, width), a hundred times faster.

    None where they differ in size, or `picture` would refuse one or find none.
    """
    array = None if cells.null_count else _array(cells)
    if array is None or not array.size or not _are_bytes(array):
        return None
    array = _channels_last(array, array.ndim - 1)
    array = array[:, None] if array.ndim == 3 else np.moveaxis(array, -1, 1)
    return array.astype(np.uint8, copy=False) if array.shape[1] in (1, 3) else None


def _array(values: Any) -> Array | None:
    """The array of lists within lists; None where they differ in length."""
    shape = [len(values)]
    while is_list(values.type):
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(lengths) > 1 or None in lengths:
            return None
        values = values.flatten()
        shape.append(lengths[0] if lengths else 0)
    array: Array = values.to_numpy(zero_copy_only=False)
    return array.reshape(shape)


def _channels_last(array: Array, rank: int) -> Array:
    """The array with the channels of its last `rank` dimensions, if there are any, behind."""
    first = rank == 3 and array.shape[-1] not in (1, 3) and array.shape[-3] in (1, 3)
    return np.moveaxis(array, -3, -1) if first else array


def _are_bytes(array: Array) -> bool:
    if array.dtype == np.uint8:
        return True
    return array.dtype.kind in "iu" and bool(array.min() >= 0 and array.max() <= 255)

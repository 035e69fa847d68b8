"""JPEG files decoded and cropped on the device, by torchvision's binding of nvJPEG."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from ddkit.data.augmentation.augment import mirrored
from ddkit.data.pixels.base import USUAL, CropShape
from ddkit.data.pixels.crops import cut, pixel_boxes
from ddkit.data.pixels.decoding import ImageFile, content_of
from ddkit.data.pixels.picture import Picture


def crops_on(
    device: torch.device,
    files: Sequence[ImageFile],
    size: tuple[int, int],
    tries: Tensor,
    flips: Tensor,
    shape: CropShape = USUAL,
) -> Tensor | None:
    """Return what `crops_of` returns, made on the device; None where it can't decode the files.

    Images are decoded at their full size; pixels differ from those of `crops_of` by a few levels.
    """
    contents, places = [content_of(file) for file in files], [place for _, place in files]
    encoded = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]
    try:
        images = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    except RuntimeError:  # another format, a kind of JPEG that nvJPEG does not know, a damaged one
        return None
    turns = [Picture(*each).orientation for each in zip(contents, places, strict=True)]
    images = [upright(*each) for each in zip(images, turns, strict=True)]
    boxes = pixel_boxes(tries, [(image.shape[1], image.shape[2]) for image in images], flips, shape)
    return mirrored(cut(images, boxes, size), flips)


def upright(image: Tensor, orientation: int) -> Tensor:
    """Return an image (channels, H, W) turned by its EXIF orientation, as `Picture.plain` does."""
    if orientation > 4:
        image = image.transpose(1, 2)
    return image.flip({2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation, []))

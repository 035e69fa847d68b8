"""The layouts that other tools keep distilled sets in, by name; nothing is imported to list them.

A layout is a module. Third parties add theirs through the entry-point group `ddkit.formats`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.registry import Registry

if TYPE_CHECKING:
    from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
    from ddkit.distilled.interop.untrusted import UntrustedFiles

LAYOUTS = {
    "apm": "a .pt file {'data': [images, labels], …}, labels are logits",
    "dc": "DC, DSA, DM: res_*.pt, {'data': [[images, labels], …], …}",
    "dd-ranking": "a folder of images.pt, labels and learning rate, with a config.yaml",
    "eccv24": "the ECCV 2024 challenge: a bare tensor, class after class",
    "frepo": "FRePo, RCIG: a flax checkpoint of x_proto and y_proto, which are regression targets",
    "hf": "Hugging Face: parquet files or a saved set; columns image, label, soft_label",
    "idc": "IDC, NCFM: a .pt file [images, classes], each image of factor × factor small ones",
    "imagefolder": "PNG files, a folder per class; soft labels beside them in labels.safetensors",
    "kip": "an .npz file of images (N, height, width, channels) and labels",
    "mtt": "MTT, TESLA, FTD, DATM: a folder of images_best.pt, labels_best.pt, perhaps lr_best.pt",
    "rded": "folders 00000/class00000_id00000.jpg, perhaps with FKD labels",
    "sre2l": "SRe2L, CDA, EDC, DELT, CV-DD: folders new000/class000_id000.jpg, perhaps with FKD",
}

FORMATS = Registry(
    "format",
    "ddkit.formats",
    {name: f"ddkit.distilled.interop.layouts.{name.replace('-', '_')}" for name in LAYOUTS},
    hint="see docs/formats.md",
)


class Layout(Protocol):
    """What the module of a layout holds.

    Attributes:
        FOLDER: whether the layout is a folder and not a file.
    """

    FOLDER: bool

    def recognises(self, path: Path) -> bool:
        """Return whether names of files alone say that `path` is of this layout and no other."""

    def read(self, path: Path, given: "Given", files: "UntrustedFiles") -> "Imported":
        """Return the set at `path`; raises `DdkitError` for what is not of this layout."""

    def write(self, outgoing: "Outgoing", path: Path) -> None:
        """Write a set to `path`, an empty file or folder that gets its name when it is whole."""

    def loading(self, path: Path) -> str:
        """Return the line of Python that loads what `write` wrote; a layout may have none."""

    def own_space(self, shape: tuple[int, int, int]) -> str:
        """Return the space that its sets are in where the user says none; a layout may have none.

        `shape` is (channels, height, width) of the images.
        """


def layout_of(name: str) -> Layout:
    """Return a layout by name; raises `DdkitError` for an unknown one."""
    layout: Layout = FORMATS.load(name)
    return layout


def recognised(path: Path) -> str:
    """Return the built-in layout that the names of files say `path` is of.

    Raises `DdkitError` where they say it of none, or of several.
    """
    found = [name for name in LAYOUTS if layout_of(name).recognises(path)]
    if len(found) == 1:
        return found[0]
    problem = (
        f"may be {' or '.join(found)}" if found else "has no name that a format is recognised by"
    )
    raise DdkitError(f"{path} {problem}: give --format, one of {', '.join(FORMATS.names())}")

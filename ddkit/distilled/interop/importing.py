"""From a file of another tool to an artifact of ddkit."""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ddkit import networks
from ddkit.config import RunConfig
from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.data.sources import selection
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.distilled.interop.exchange import Given, Imported, LabelKind, as_bytes
from ddkit.distilled.interop.formats import LAYOUTS, Layout, layout_of, recognised
from ddkit.distilled.interop.label_order import check_labels
from ddkit.distilled.interop.plausible import Plausible
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.merging import check_target, make_room
from ddkit.distilled.writing import IMPORTED, write_distilled
from ddkit.pools.imported import space_of
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress
from ddkit.synthesis.images import Synthetic, as_pixels, stored

Store = Literal["uint8", "float16", "float32"]
ONLY = {"factor": ("idc",), "soft_labels": ("sre2l", "rded")}  # what means nothing to others


@dataclass(frozen=True)
class Request:
    """What the user says of a file that is to be imported; None: nothing.

    Attributes:
        format: the layout; None for what the names of the files say.
        data: what the set was distilled from.
        classes: names in the order of the file's labels, where there is no `data`.
        mean, std: how the tool standardised pixels in [0, 1], one value per channel.
        unit: the tool's networks saw pixels as they are.
        mirror: whether a mirrored image keeps its class, where there is no `data`.
        store: how pixels are stored; None is uint8 where that loses nothing, else float32.
        labels, learning_rate, temperature, factor, soft_labels: see `Given`.
        trust: what is taken as it is, however unlikely: "pixels", "labels".
    """

    format: str | None = None
    data: DataOptions | None = None
    classes: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    unit: bool = False
    mirror: bool = True
    network: str | None = None
    store: Store | None = None
    labels: LabelKind | None = None
    learning_rate: float | None = None
    temperature: float | None = None
    factor: int | None = None
    soft_labels: Path | None = None
    trust: Collection[str] = ()


def import_set(
    source: Path,
    out: Path,
    request: Request,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    files: UntrustedFiles | None = None,
) -> Path:
    """Write the distilled set of another tool as an artifact, and return its path.

    With `data` the artifact can be evaluated, relabelled and merged; else shown and trained on.
    `files` is an open reader, which serves several imports; None opens one.

    Raises:
        DdkitError: the source is missing, damaged, of another layout, does more than hold data,
            or does not record something that the request leaves out.
    """
    check_target(out, [], overwrite)
    if not source.exists():
        raise DdkitError(f"no such file or folder: {source}")
    if request.network is not None:
        networks.parse(request.network)
    name = request.format or recognised(source)
    layout = layout_of(name)
    check_wanted(request, name)
    train = None if request.data is None else training_split(request.data, progress)
    request = in_own_space(request, layout, train)
    space = input_space(request, train)
    given = Given(
        class_names(request, train),
        space,
        request.labels,
        request.learning_rate,
        request.temperature,
        request.factor,
        request.soft_labels,
        None if "pixels" in request.trust else Plausible(space, train).check,
    )
    with nullcontext(files) if files else UntrustedFiles() as reader:
        found = layout.read(source, given, reader)
        check_images(found, train, source)
        if "labels" not in request.trust:
            check_labels(found.labels, found.classes, found.class_names, source)
        images = kept(found.images, request.store)
    if overwrite:
        make_room(out)
    write_distilled(
        out,
        Synthetic(images, found.classes, found.learning_rate, factor=found.factor),
        found.labels,
        channels_of(given.input_space(source), images, source),
        describe(found, request, train, {"format": name, "name": source.name}),
    )
    return out


def check_wanted(request: Request, name: str) -> None:
    """Raise `DdkitError` for what a built-in layout has no use for."""
    for wanted, flag in (("factor", "--factor"), ("soft_labels", "--fkd")):
        if getattr(request, wanted) is not None and name in LAYOUTS and name not in ONLY[wanted]:
            raise DdkitError(
                f"{flag} does not apply to --format {name}: it is for {' and '.join(ONLY[wanted])}"
            )
    if request.unit and (request.mean is not None or request.std is not None):
        raise DdkitError("--mean and --std are for --space standard, not unit")


def training_split(data: DataOptions, progress: Progress | None) -> Split:
    """Return the training images without their holdout, as a run on these data has them."""
    train = sources.load(data, "train", progress=progress)
    return selection.split_holdout(train, data.holdout, 0)[0]


def in_own_space(request: Request, layout: Layout, train: Split | None) -> Request:
    """Return the request with the input space of the layout, where the user says none."""
    data, own = request.data, getattr(layout, "own_space", None)
    said = request.mean is not None or request.std is not None
    if data is None or train is None or own is None or said or "space" in data.model_fields_set:
        return request
    return replace(request, data=data.model_copy(update={"space": own(train.shape)}))


def class_names(request: Request, train: Split | None) -> tuple[str, ...] | None:
    """Return the names that the user gives, else the data's."""
    if request.classes is not None:
        return tuple(request.classes)
    return None if train is None else train.classes


def input_space(request: Request, train: Split | None) -> InputSpace | None:
    """Return how pixels become network inputs: by the constants that are said, else the data's."""
    if request.unit:
        channels = 3 if train is None else train.shape[0]
        return InputSpace(torch.zeros(channels), torch.ones(channels))
    if train is not None and request.data is not None:
        return space_of(train, request.data, request.mean, request.std)
    if request.mean is None and request.std is None:
        return None
    if request.mean is None or request.std is None or len(request.mean) != len(request.std):
        raise DdkitError("--mean and --std belong together: give both, one value per channel")
    space = InputSpace(
        torch.tensor([*map(float, request.mean)]), torch.tensor([*map(float, request.std)])
    )
    if not (space.mean.isfinite().all() and space.std.isfinite().all() and (space.std > 0).all()):
        raise DdkitError("--mean must be finite, and --std finite and above 0")
    return space


def check_images(found: Imported, train: Split | None, path: Path) -> None:
    """Raise `DdkitError` unless images, classes and names fit each other and the data."""
    shape = tuple(found.images.shape[1:])
    if train is not None and shape != train.shape:
        raise DdkitError(
            f"{path} has images of {shape}, but those of the data are {train.shape}: name the "
            "data it was distilled from, with --resize as it was"
        )
    if train is not None and found.class_names != train.classes:
        raise DdkitError(
            f"{path} names other classes than the data ({found.class_names[0]} and "
            f"{train.classes[0]} first): name the data it was distilled from"
        )
    if len(set(found.class_names)) != len(found.class_names):
        raise DdkitError(f"two classes of {path} have the same name: name them with --classes")


def kept(images: Tensor, store: Store | None) -> Tensor:
    """Return images as they are stored: by default as uint8 where that loses nothing."""
    if store is not None or images.dtype == torch.uint8:
        return stored(images, store or "uint8")
    exact = as_bytes(images)
    lossless = (as_pixels(exact) - images).abs().max() < 1e-5
    return exact if lossless else images


def channels_of(space: InputSpace, images: Tensor, path: Path) -> InputSpace:
    """Return the space for as many channels as the images have; `unit` fits any number."""
    channels = images.shape[1]
    if space.kind == "unit" and len(space.mean) != channels:
        return InputSpace(torch.zeros(channels), torch.ones(channels))
    if space.zca is None and len(space.mean) != channels:
        raise DdkitError(
            f"{path} has images of {channels} channels, but --mean has {len(space.mean)} values"
        )
    return space


def describe(
    found: Imported, request: Request, train: Split | None, origin: dict[str, str]
) -> dict[str, Any]:
    """Return what the artifact says of itself; a configuration only where the data are known."""
    network = request.network or found.network
    about: dict[str, Any] = {
        "classes": list(found.class_names),
        "mirror": request.mirror if train is None else train.mirror,
        "protocol": {},
        "config": None,
        "data_fingerprint": None if train is None else train.fingerprint,
        "network": network,
        "imported": origin,
    }
    if request.data is not None:
        about["config"] = config_of(found, request.data, network).model_dump(mode="json")
    return about


def config_of(found: Imported, data: DataOptions, network: str) -> RunConfig:
    """Return the run that stands for an import: real images of the same number, same data."""
    ipc = int(found.classes.bincount().max())
    said = {"method": IMPORTED, "plugin": "random", "ipc": ipc, "network": network, "data": data}
    return RunConfig.model_validate({**said, "factor": found.factor})

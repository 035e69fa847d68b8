"""FRePo, RCIG: a flax checkpoint of images `x_proto` (N, height, width, channels) and `y_proto`.

RCIG's result is the moving average, `ema_average`; FRePo has `params` alone. Its labels are targets
of a regression. Colour images are whitened; those of one channel are standardised.
"""

import re
from pathlib import Path

import msgpack
from torch import Tensor

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import images_of, item, labels_of, wrong
from ddkit.runtime.errors import DdkitError

FOLDER = False
NETWORK = "convnet:norm=none:growth=2:init=lecun"
ARRAY = 1  # flax's code


def recognises(path: Path) -> bool:
    return bool(checkpoints(path))


def checkpoints(path: Path) -> list[Path]:
    """Return the checkpoints that flax would find at `path`, a file or a folder; the last first."""
    files = path.iterdir() if path.is_dir() else [path]
    named = [(re.fullmatch(r"checkpoint_(\d+)", file.name), file) for file in files]
    steps = {file: int(name[1]) for name, file in named if name}
    return sorted(steps, key=lambda file: steps[file], reverse=True)


def own_space(shape: tuple[int, int, int]) -> str:
    return "standard" if shape[0] == 1 else "zca-relative"


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    """Return the set of a checkpoint, or of the last one in a folder."""
    if path.is_dir():
        found = checkpoints(path)
        if not found:
            raise DdkitError(f"{path} holds no checkpoint_N of flax: name a folder that does")
        path = found[0]
    if given.labels in ("logits", "probabilities"):
        raise DdkitError(
            f"{path} holds targets of a regression, not {given.labels}: leave --labels out, or use "
            "--labels hard"
        )
    saved = files.msgpack(path)
    averaged = isinstance(saved, dict) and saved.get("ema_average") is not None
    proto = item(saved, "ema_average" if averaged else "params", path)
    values = item(proto, "x_proto", path)
    if not isinstance(values, Tensor) or values.ndim != 4:
        raise wrong(path, "has no images (N, height, width, channels) in x_proto")
    inputs = images_of(values.movedim(3, 1).contiguous(), path)
    images = given.pixels(inputs, path)
    classes, labels = labels_of(item(proto, "y_proto", path), len(images), given, path, "targets")
    names = given.class_names(path)
    network = NETWORK + ":padding=3" * (images.shape[2] == 28)
    return Imported(images, classes, labels, names, given.learning_rate, network)


def write(outgoing: Outgoing, path: Path) -> None:
    """Write what both tools read: each looks for it under a name of its own."""
    images = outgoing.inputs.movedim(1, 3).contiguous()
    proto = {"x_proto": packed(images), "y_proto": packed(outgoing.targets())}
    path.write_bytes(msgpack.packb({"params": proto, "ema_average": proto}))


def packed(values: Tensor) -> msgpack.ExtType:
    """Return float32 values as flax packs an array."""
    parts = [list(values.shape), "float32", values.numpy().tobytes()]
    return msgpack.ExtType(ARRAY, msgpack.packb(parts))


def loading(path: Path) -> str:
    read = f"serialization.msgpack_restore(open({str(path)!r}, 'rb').read())['params']"
    return f"from flax import serialization; images, labels = {read}.values()"

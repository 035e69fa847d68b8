"""A trained network as a file: plain weights under their own names, and how to use them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ddkit import networks
from ddkit.data.space import InputSpace
from ddkit.networks import parse
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile, write_tensors

FORMAT = "ddkit.network"


def save_network(
    path: Path,
    network: nn.Module,
    spec: str,
    space: InputSpace,
    class_names: Sequence[str],
    shape: Sequence[int],
    more: Mapping[str, Any],
) -> None:
    """Write a network's weights so that `network.load_state_dict(load_file(path))` takes them.

    How inputs are normalised goes into the metadata, or beside it into <name>.space.safetensors
    where it is a ZCA matrix.
    """
    space = space.to("cpu")
    about = {
        "format": FORMAT,
        "network": spec,
        "classes": list(class_names),
        "shape": list(shape),
        "mean": space.mean.tolist(),
        "std": space.std.tolist(),
        "space": space.kind,
        **more,
    }
    if space.zca is not None:
        write_tensors(_space_path(path), space.tensors(), {"format": "ddkit.space"})
    write_tensors(path, network.state_dict(), about)


def load_network(path: str | Path) -> tuple[nn.Module, InputSpace]:
    """Return a network that `ddkit train` wrote, in eval mode, and the space of its inputs.

    Raises:
        DdkitError: the file is no such network, or names a user's own file, which is not executed.
    """
    import torch

    path = Path(path)
    file = TensorFile(path)
    about = file.metadata
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise DdkitError(f"{path} is a ddkit file, but not a trained network")
    if parse(about["network"]).path is not None:
        raise DdkitError(
            f"{path} is a network from a file, {about['network']}: build it yourself and load the "
            "weights with load_state_dict"
        )
    channels, height, width = about["shape"]
    network = networks.create(
        about["network"],
        classes=len(about["classes"]),
        shape=(channels, height, width),
        generator=torch.Generator(),
    )
    network.load_state_dict(file.read())
    if about["space"].startswith("zca"):
        space = InputSpace.from_tensors(TensorFile(_space_path(path)).read())
    else:
        space = InputSpace(torch.tensor(about["mean"]), torch.tensor(about["std"]))
    return network.eval(), space


def _space_path(path: Path) -> Path:
    return path.with_suffix(".space.safetensors")

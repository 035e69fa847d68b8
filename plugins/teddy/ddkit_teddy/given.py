"""Networks that the user has trained already: weights from a file, tried on training images."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ddkit import DdkitError, Run, trained_accuracy


def given_network(run: Run, spec: str | None, path: Path) -> nn.Module:
    """Return a network with the weights of a file, on the device; `spec` None is the run's.

    Raises `DdkitError` where they do not fit it, or the run's data, unless the run trusts them.
    """
    network = run.network(run.generator("base network"), spec)
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        what = spec or f"--network {run.config.network}"
        raise DdkitError(f"the weights in {path} do not fit {what}: {reason}") from error
    if not run.config.trust_base:
        trained_accuracy(network, run.train, run.space, str(path))
    return network


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, or from a .pt file with nothing but weights in it."""
    if not path.is_file():
        raise DdkitError(f"no such file: {path}: it was named as weights of the pool")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise DdkitError(f"{path} is not a complete safetensors file ({error})") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is not a file of weights
        raise DdkitError(f"{path} holds no plain weights ({type(error).__name__})") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DdkitError(f"{path} holds no state dict of tensors")
    return state

"""Tensors in files: safetensors, read lazily and written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import replacing

METADATA_KEY = "ddkit"  # one key only: safetensors writes several in random order


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Any = None) -> None:
    """Write tensors and one JSON value to `path` as safetensors, whole or not at all."""
    header = {METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    cpu: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        address = own.untyped_storage().data_ptr()
        cpu[name] = own.clone() if address in seen else own  # safetensors refuses shared memory
        seen.add(address)
    with replacing(path) as temporary:
        save_file(cpu, temporary, metadata=header)


class TensorFile:
    """A safetensors file, read lazily: a tensor costs memory only while its pages are in use."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = safe_open(str(path), framework="pt", device="cpu")
            header = self._file.metadata() or {}
            self.names = frozenset(self._file.keys())
        except FileNotFoundError as error:
            raise DdkitError(f"no such file: {path}") from error
        except (SafetensorError, OSError, ValueError) as error:
            raise DdkitError(
                f"{path} is not a complete safetensors file ({error}); it may be truncated: "
                "copy or make it again"
            ) from error
        if METADATA_KEY not in header:
            raise DdkitError(f"{path} was not written by ddkit: its header has no 'ddkit' entry")
        try:
            self.metadata: Any = json.loads(header[METADATA_KEY])
        except (ValueError, RecursionError) as error:
            raise DdkitError(f"{path} is damaged: its header is not JSON; copy it again") from error

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Tensor:
        """Return one tensor, memory-mapped; raises `DdkitError` where the file lacks it."""
        if name not in self.names:
            raise DdkitError(
                f"{self.path} has no tensor '{name}'; it is of another kind or version"
            )
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError, ValueError, OverflowError) as error:
            raise DdkitError(
                f"{self.path} holds no readable tensor '{name}' ({error}): copy it again or make "
                "it again"
            ) from error
        return tensor

    def get(self, name: str) -> Tensor | None:
        """Return one tensor, or None where the file lacks it."""
        return self[name] if name in self else None  # noqa: SIM401 - no dict

    def read(self, prefix: str = "") -> dict[str, Tensor]:
        """Return all tensors whose names begin with `prefix`, without the prefix."""
        return {
            name.removeprefix(prefix): self[name]
            for name in sorted(self.names)
            if name.startswith(prefix)
        }


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as named tensors: "<parameter>.<state>"."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned, into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [value for group in optimiser.param_groups for value in group["params"]]
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        own = tensor.clone()  # the file's pages are read-only
        if own.shape == parameters[int(index)].shape:  # fused kernels want one memory layout
            own = torch.empty_like(parameters[int(index)], dtype=own.dtype).copy_(own)
        state.setdefault(int(index), {})[name] = own
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})

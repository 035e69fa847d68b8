"""Tensors of the made-up device, and the CPU tensors that they stand for."""

from typing import Any

import torch
from torch import Tensor

torch._C._ensureCUDADeviceGuardSet()  # C++ asks for the device that a tensor is on …
torch._C._set_only_lift_cpu_tensors(True)  # … and makes tensors of Python's numbers on the CPU


class OnDevice(Tensor):
    """A tensor of the made-up device; `held` is the CPU tensor that it stands for."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device("cuda:0"),
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} on a tensor of a made-up device, outside of its block")

    @property
    def data(self) -> Tensor:
        return Tensor.detach(self)

    @data.setter
    def data(self, value: "OnDevice") -> None:
        torch._C.TensorBase.data.__set__(self, value)
        self.held = value.held

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __tensor_flatten__(self):
        """Say that this is a wrapper: `Module.to` then puts it into the parameter's place."""
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return OnDevice(inner["held"])

    def __repr__(self, **options: Any) -> str:
        return f"OnDevice({self.held!r})"


def held(tensor: Tensor) -> Tensor:
    return tensor.held if isinstance(tensor, OnDevice) else tensor


def described(tensor: Tensor) -> str:
    return f"{'×'.join(map(str, tensor.shape)) or 'a number'} {str(tensor.dtype)[6:]}"


def bare(value: Any, tensors: list[Tensor]) -> Any:
    """Return a value with tensors of the CPU in it; add those that were there to `tensors`."""
    kind = type(value)
    if kind is OnDevice:
        tensors.append(value)
        return value.held
    if kind is list or kind is tuple:
        return [bare(item, tensors) for item in value]
    if isinstance(value, Tensor):
        tensors.append(value)
    return value


def on_device(made: Any, changed: dict[int, OnDevice]) -> Any:
    """Return a result as the device's; what was changed in place is the tensor that it was."""
    if isinstance(made, Tensor):
        return changed[id(made)] if id(made) in changed else OnDevice(made)
    if isinstance(made, (list, tuple)):
        return type(made)(on_device(item, changed) for item in made)
    return made

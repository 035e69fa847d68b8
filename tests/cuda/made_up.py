"""A made-up CUDA device: tensors that say "cuda:0" and compute on the CPU.

It raises where CUDA would (tensors on two devices, a generator of the wrong one), and where CUDA
would be silently wrong (memory of the host that is read before a copy has arrived). It notes, with
file and line, what goes unseen on a CPU: where the host waits for the device, where bytes depend on
the order in which threads come, how products and convolutions round (`costs`). So it proves
devices, waits, dtypes and call paths; kernels, speed and memory only a device can show.

By hand, with a program of one's own:

    cc -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o /tmp/libcuda.so.1 tests/cuda/stubs.c
    LD_PRELOAD=/tmp/libcuda.so.1 PYTHONPATH=tests/cuda python program.py

    with made_up.MadeUpDevice() as device:
        ...                                    # device="cuda"
    print(device.waits, device.atomics, device.roundings, device.faults)
"""

import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any
from unittest import mock

import torch
from costs import Operation
from places import Event, Places
from runtime import Generator, Runtime
from tensors import OnDevice, bare, described, held, on_device
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

Arguments = tuple[Any, ...]
Options = dict[str, Any]
aten = torch.ops.aten
HOST = torch.device("cpu")
operation_of = cache(Operation)


class Watching(TorchDispatchMode):
    """Sees the operations of a thread, those on the host too."""

    def __init__(self, device: "MadeUpDevice") -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.device.perform(func, args, kwargs or {})


class MadeUpDevice:
    """Within its block there is a device "cuda:0".

    Attributes:
        waits: where the host waited for the device.
        atomics: where bytes depend on the order in which threads come.
        roundings: products and convolutions, and how they round.
        faults: what was raised, also where someone caught it.
        runtime: what `torch.cuda` says.
    """

    def __init__(self) -> None:
        self.forget()
        self.runtime = Runtime(self.wait)
        self._arriving: dict[int, str] = {}  # storages on the host that a copy is on its way to
        self._copies = {
            "_to_copy": self._copy,
            "copy_": self._copy_into,
            "record_stream": lambda tensor, stream: None,
        }
        self._blocks = ExitStack()

    def forget(self) -> None:
        """Begin anew to note things."""
        self.waits: Counter[Event] = Counter()
        self.atomics: Counter[Event] = Counter()
        self.roundings: Counter[Event] = Counter()
        self.faults: list[str] = []
        self._places = Places()

    def __enter__(self) -> "MadeUpDevice":
        run = threading.Thread.run

        def run_watched(thread: threading.Thread) -> None:
            with self._watched():
                run(thread)

        self._blocks.enter_context(mock.patch.object(threading.Thread, "run", run_watched))
        self._blocks.enter_context(self.runtime.standing_in())
        self._blocks.enter_context(self._watched())
        return self

    def __exit__(self, *exception: Any) -> None:
        self._blocks.close()

    def wait(self, what: str | None) -> None:
        """Let the host wait for `what` until the device has done all that was asked of it."""
        if what:
            self._note(self.waits, what)
            self._arriving.clear()

    def perform(self, func: Any, args: Arguments, kwargs: Options) -> Any:
        """Do an operation as the device would, or the host, and note what it costs."""
        operation = operation_of(func)
        tensors: list[Tensor] = []
        given = [bare(value, tensors) for value in args]
        options = {name: bare(value, tensors) for name, value in kwargs.items()}
        here = [tensor for tensor in tensors if type(tensor) is OnDevice]
        target = kwargs.get("device")
        makes_here = bool(here) if target is None else torch.device(target).type == "cuda"
        if not here and not makes_here:
            return self._on_host(operation, tensors, args, kwargs)
        if operation.name in self._copies:
            return self._copies[operation.name](*args, **kwargs)
        if torch.is_grad_enabled() and here:
            self._places.remember()
        if operation.draws and makes_here:
            self._check_generator(operation, args, kwargs)
        if here and len(here) < len(tensors):
            self._check_devices(operation, args, tensors)
        if operation.waits and here:
            self.wait(operation.waits(*args, **kwargs))
        if operation.meets and here:
            self._note(self.atomics, operation.meets(*given, **options))
        if operation.rounds:
            self._note(self.roundings, operation.rounds(*given))
        if target is not None:
            options |= {"device": HOST, "pin_memory": False}
        with self.runtime.drawing() if operation.draws else nullcontext():
            made = STAND_INS.get(operation.name, func)(*given, **options)
        if operation.reshapes:  # the wrapper takes on its new shape
            with no_dispatch():
                func(*args, **kwargs)
        if not makes_here:
            return made
        changed = {id(tensor.held): tensor for tensor in here} if operation.changes else {}
        return on_device(made, changed)

    # copies between host and device: the host waits unless it is told not to (`non_blocking`)

    def _copy(self, source: Tensor, **kwargs: Any) -> Tensor:
        blocking = not kwargs.get("non_blocking")
        device = torch.device(kwargs.get("device") or source.device)
        result = aten._to_copy(held(source), **kwargs | {"device": HOST, "pin_memory": False})
        if device.type == "cpu":
            return self._fetched(result, blocking)
        if not isinstance(source, OnDevice):
            self._sent(source, blocking)
        return OnDevice(result)

    def _copy_into(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        aten.copy_(held(target), held(source))
        if isinstance(target, OnDevice) and not isinstance(source, OnDevice):
            self._sent(source, not non_blocking)
        elif isinstance(source, OnDevice) and not isinstance(target, OnDevice):
            self._fetched(target, not non_blocking)
        return target

    def _sent(self, source: Tensor, blocking: bool) -> None:
        if blocking and source.numel():
            self.wait(f"a copy to the device of {described(source)}")

    def _fetched(self, result: Tensor, blocking: bool) -> Tensor:
        """Without waiting, a copy to the host lands in pinned memory some time later."""
        if blocking and result.numel():
            self.wait(f"a copy to the host of {described(result)}")
        elif result.numel():
            storage = result.untyped_storage()
            self._arriving[storage._cdata] = self._places.event("").where
            weakref.finalize(storage, self._arriving.pop, storage._cdata, None)
        return result

    # what CUDA refuses, or would do wrong without a word

    def _on_host(
        self, operation: Operation, tensors: list[Tensor], args: Arguments, kwargs: Options
    ) -> Any:
        """Do an operation of the host, which must not read what may still be on its way."""
        if operation.name == "_pin_memory":
            return args[0].clone()
        if operation.name == "is_pinned":
            return False
        if self._arriving and not operation.views:
            for tensor in tensors:
                sent = self._arriving.get(tensor.untyped_storage()._cdata)
                if sent:
                    raise self._fault(f"{operation.name} of what is on its way, copied by {sent}")
        return operation.func(*args, **kwargs)

    def _check_generator(self, operation: Operation, args: Arguments, kwargs: Options) -> None:
        for value in (*args, kwargs.get("generator")):
            if not isinstance(value, torch._C.Generator):
                continue
            if Generator.devices.get(value._cdata, value.device).type != "cuda":
                raise self._fault(
                    f"Expected a 'cuda' device type for generator but found 'cpu': {operation.name}"
                )

    def _check_devices(self, operation: Operation, args: Arguments, tensors: list[Tensor]) -> None:
        """Raise but for numbers of the host, which kernels take, and for indices, which travel."""
        strangers = [tensor for tensor in tensors if type(tensor) is not OnDevice]
        if operation.indexes and type(args[0]) is OnDevice:
            strangers = [value for value in args[2:3] if type(value) is not OnDevice]
        if operation.takes_numbers or operation.indexes:
            strangers = [tensor for tensor in strangers if tensor.dim()]
        if strangers:
            shapes = " and ".join(described(tensor) for tensor in strangers)
            raise self._fault(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu: {operation.name} with {shapes} on the CPU"
            )

    def _fault(self, text: str) -> RuntimeError:
        self.faults.append(f"{text}, at {self._places.event('').where}")
        return RuntimeError(self.faults[-1])

    def _note(self, events: Counter[Event], what: str | None) -> None:
        if what:
            events[self._places.event(what)] += 1

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Watch a thread; its backward passes stay in it, where a place has all that led to it."""
        with Watching(self), torch.autograd.set_multithreading_enabled(False):
            yield


# what the CPU has under another name


def _norm_forward(x, weight, bias, mean, var, training, momentum, epsilon):
    out = aten.native_batch_norm(x, weight, bias, mean, var, training, momentum, epsilon)
    return *out, torch.empty(0, dtype=torch.uint8)


def _norm_backward(x, grad, weight, mean, var, saved_mean, saved_inverse, epsilon, reserve):
    return aten.native_batch_norm_backward(
        grad, x, weight, mean, var, saved_mean, saved_inverse, True, epsilon, [True] * 3
    )


STAND_INS = {"cudnn_batch_norm": _norm_forward, "cudnn_batch_norm_backward": _norm_backward}

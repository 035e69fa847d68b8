"""Pools: the trained networks that a method works with. Stored in safetensors, opened lazily.

A plugin returns member tasks; each task trains and yields one or several members (a teacher, the
snapshots of a trajectory). `training` runs the tasks and stores each task's members in one
file; the pipeline caches the pool under the hash of all that determines it.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddkit import networks
from ddkit.data.space import InputSpace
from ddkit.networks.pruned import PruningHistory, prune_as
from ddkit.runtime.arithmetic import EXACT, Arithmetic
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import read_json
from ddkit.runtime.memory import free_memory, weights_of
from ddkit.runtime.moving import send, sent
from ddkit.runtime.tensors import TensorFile

POOL_VERSION = 2  # goes up when the core trains or stores pools differently

SHARE = 1 / 2  # of what is free on the device; the steps that came before have reserved theirs


@dataclass(frozen=True)
class MemberInfo:
    """What is known of a stored member without reading its weights."""

    task: str
    number: int
    role: str
    step: int
    epoch: int
    figures: Mapping[str, float]
    pruning: PruningHistory | None
    network: str | None = None


class Pool:
    """Trained networks on disk. Indexing gives a network, frozen, in eval mode, on the device.

    The last `max_loaded` networks are valid, and memory does not grow with the pool. On a CPU the
    weights are memory-mapped and cost none of their own.

    Attributes:
        room: bytes that all loaded networks may take together; below what `max_loaded` of them take
            no more are held. More are where that leaves as much free again, so that members which
            are drawn in turn are not copied to a device each time.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu", max_loaded: int = 1):
        self.folder = folder
        self.device = torch.device(device)
        self.max_loaded = max_loaded
        self.room = 0.0
        self._arithmetic = EXACT
        self._skeletons: dict[str, nn.Module] = {}
        self._sizes: dict[str, int] = {}
        self._networks: OrderedDict[int, nn.Module] = OrderedDict()
        self._mapped: dict[int, dict[str, Tensor]] = {}
        self._files: dict[str, TensorFile] = {}
        self.members: tuple[MemberInfo, ...] = ()
        self.description: dict[str, Any] = {}

    @classmethod
    def open(cls, folder: Path, device: torch.device | str = "cpu", max_loaded: int = 1) -> "Pool":
        """Open a finished pool; raises `DdkitError` where it is missing or incomplete."""
        pool = cls(folder, device, max_loaded)
        pool.description = read_description(folder)
        for task in pool.description["tasks"]:
            pool.add_task(task)
        return pool

    def fresh(self) -> "Pool":
        """Return the same pool with none of its networks loaded; no file is opened again."""
        pool = Pool(self.folder, self.device)
        pool.description, pool.members, pool._files = self.description, self.members, self._files
        return pool

    def add_task(self, name: str) -> None:
        """Make the members of a finished task available."""
        file = self.file(name)
        infos = tuple(MemberInfo(task=name, **entry) for entry in file.metadata["members"])
        self.members += infos

    def __len__(self) -> int:
        return len(self.members)

    def with_role(self, *roles: str) -> list[int]:
        """Return the indices of the members with one of these roles, in the order of the pool."""
        return [index for index, member in enumerate(self.members) if member.role in roles]

    @property
    def networks(self) -> tuple[str, ...]:
        """The specs of the members' networks, each once, in the order of the pool."""
        return tuple(dict.fromkeys(self.spec(index) for index in range(len(self))))

    def spec(self, index: int) -> str:
        """Return the spec of a member's network: its own, or the pool's."""
        spec: str = self.members[index].network or self.description["network"]
        return spec

    def check_countable(self, budget: int | None) -> None:
        """Raise `DdkitError` where a memory budget is for members of one network, as most count."""
        if budget is not None and len(self.networks) > 1:
            raise DdkitError(
                "--memory-budget: this method counts its networks as alike, but the pool has "
                f"{', '.join(self.networks)}: leave it out, or name a pool of one network"
            )

    def state(self, index: int) -> dict[str, Tensor]:
        """Return a member's weights, memory-mapped on the CPU."""
        member = self.members[index]
        return self.file(member.task).read(f"{member.number}.state.")

    def extras(self, index: int) -> dict[str, Tensor]:
        """Return the further tensors that the method stored with a member."""
        member = self.members[index]
        return self.file(member.task).read(f"{member.number}.extra.")

    def network(self, index: int) -> nn.Module:
        """Return a member as a network: frozen, in eval mode, on the device.

        It is valid until `max_loaded` others were asked for: its module may then be another's.
        """
        if index not in self._networks:
            network = None
            while len(self._networks) >= max(1, self.max_loaded) and not self._has_room(index):
                old, module = self._networks.popitem(last=False)
                if self._architecture(old) == self._architecture(index):
                    network = module
            if network is None:
                network = self._loaded(index)
            else:
                self._exchange(network, index)
            self._networks[index] = network
        self._networks.move_to_end(index)
        return self._networks[index]

    def lay_out(self, arithmetic: Arithmetic) -> None:
        """Lay networks out in memory as an arithmetic wants them, from now on."""
        if arithmetic.channels_last != self._arithmetic.channels_last:
            layout = torch.channels_last if arithmetic.channels_last else torch.contiguous_format
            for network in self._networks.values():
                network.to(memory_format=layout)
        self._arithmetic = arithmetic

    def space(self) -> InputSpace:
        """Return the input space that all members were trained in."""
        return InputSpace.from_tensors(TensorFile(self.folder / "space.safetensors").read())

    def file(self, task: str) -> TensorFile:
        if task not in self._files:
            self._files[task] = TensorFile(self.folder / f"{task}.safetensors")
        return self._files[task]

    def _has_room(self, index: int) -> bool:
        """Return whether one more network may be held beside those that are."""
        own = self._bytes(index)
        held = sum(self._bytes(other) for other in self._networks)
        return own + held <= self.room and own <= SHARE * free_memory(self.device)

    def _bytes(self, index: int) -> int:
        """Return what a member takes as a network."""
        key = self._architecture(index)
        if key not in self._sizes:
            self._sizes[key] = weights_of(self._skeleton(index))
        return self._sizes[key]

    def _loaded(self, index: int) -> nn.Module:
        """Return a module of a member's own, on the device."""
        network = copy.deepcopy(self._skeleton(index))
        # detached: the module's own tensor objects, or exchanging would change the cached ones
        weights = {
            name: self._weights(index)[name].detach().to(tensor.dtype)
            for name, tensor in network.state_dict().items()
        }
        network.load_state_dict(weights, assign=True)
        send(network, self.device).eval().requires_grad_(False)
        return self._arithmetic.laid_out(network)

    def _exchange(self, network: nn.Module, index: int) -> None:
        """Put a member's weights into a module of the same architecture, without building one."""
        weights = self._weights(index)
        for name, tensor in network.state_dict(keep_vars=True).items():
            if self.device.type == "cpu":
                # the pages of the file itself: nothing is copied, but for stored bfloat16
                tensor.data = self._arithmetic.laid_out(weights[name].to(tensor.dtype))
            else:
                tensor.data.copy_(sent(weights[name], self.device))

    def _weights(self, index: int) -> dict[str, Tensor]:
        if index not in self._mapped:
            self._mapped[index] = self.state(index)
        return self._mapped[index]

    def _architecture(self, index: int) -> str:
        """Name what members must share to use each other's module."""
        member = self.members[index]
        return f"{member.task}/{member.number}" if member.pruning else member.network or ""

    def _unloaded(self, index: int, *, meta: bool) -> nn.Module:
        """Return a member's network as it is before weights are loaded."""
        own = self.members[index].network
        if own is not None:
            check_named(own, f"the pool {self.folder}")
        channels, height, width = self.description["shape"]
        return networks.create(
            self.spec(index),
            classes=self.description["classes"],
            shape=(channels, height, width),
            generator=None if meta else torch.Generator(),
            meta=meta,
        )

    def _skeleton(self, index: int) -> nn.Module:
        """Return the member's architecture; without weights where all of them are in the file."""
        key = self._architecture(index)
        if key not in self._skeletons:
            pruning = self.members[index].pruning
            channels, height, width = self.description["shape"]
            shape = (channels, height, width)
            network = self._unloaded(index, meta=pruning is None)
            if pruning is not None:  # torch-pruning follows an example through real weights
                network = prune_as(network, pruning, shape)
            tensors = dict(network.named_buffers()) | dict(network.named_parameters())
            if len(tensors) <= len(network.state_dict()):
                network = network.to("meta")
            elif pruning is None:
                network = self._unloaded(index, meta=False)  # it has buffers that no file holds
            self._skeletons[key] = network
        return self._skeletons[key]


def check_named(spec: str, where: str) -> None:
    """Raise `DdkitError` where a member's own network is from a file.

    A run that names a pool says at most that it trusts the file of the pool's network.
    """
    if networks.parse(spec).path is not None:
        raise DdkitError(
            f"{where}: a network of several cannot come from a file ({spec}), use names; see "
            "`ddkit methods --networks`"
        )


def read_description(folder: Path) -> dict[str, Any]:
    """Return what a pool's `pool.json` says; raises `DdkitError` where there is none."""
    path = folder / "pool.json"
    if not path.exists():
        raise DdkitError(f"{folder} is not a finished pool: it has no pool.json")
    description: dict[str, Any] = read_json(path)
    return description

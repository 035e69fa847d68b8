"""TESLA's synthesis: a student on the images shall end where the expert did (Algorithm 1)."""

from collections.abc import Mapping
from functools import partial
from math import inf, log
from typing import Any

import torch
from torch import Tensor

from ddkit import (
    DdkitError,
    Leaf,
    Objective,
    Pool,
    Run,
    Shard,
    Synthetic,
    as_pixels,
    batch_norms,
    check_stop,
    draw_dsa,
    initial_inputs,
    parse_network,
    sent,
    shuffled,
    with_gradients,
)
from ddkit_tesla.experts import check_epochs, last_members, trajectories
from ddkit_tesla.matching import Batch, match
from ddkit_tesla.memory import fitting_sizes, kept_graphs
from ddkit_tesla.options import TeslaOptions
from ddkit_tesla.starting import mean_of_right, right_ones
from ddkit_tesla.students import Snapshots, as_function, check_micro_batch

FORWARD_BATCH = 512  # images per forward pass where nothing is differentiated
RUNAWAY = 1e4  # no input is as large as this, in units of standard deviations


class TeslaObjective(Objective):
    """Eq. 1 over segments of expert trajectories; leaves are images, β and, if learned, labels."""

    advice = "lower the learning rates (--set lr_images=…, --set lr_lr=…)"

    def __init__(self, run: Run, pool: Pool):
        super().__init__(run)
        self.options: TeslaOptions = run.options
        self.steps = self.options.iterations
        self.micro_batch = self.options.micro_batch
        self.snapshot_every = self.options.snapshot_every
        self.kept_graphs = 0
        self.pool = pool
        self.experts = trajectories(pool)
        self.skipped = 0
        self._chosen: dict[int, Tensor] = {}
        self._check_pool()
        network = run.network(run.generator("student"))
        self._check_network(network)
        self.names = [name for name, _ in network.named_parameters()]
        self.student = as_function(network)

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        options = self.options
        self._settle()
        self.skipped = 0
        images = initial_inputs(
            self.run, shard, self._right if options.choose == "correct" else None
        )
        sgd = partial(torch.optim.SGD, momentum=options.momentum)

        def bounded(rate: Tensor) -> None:
            rate.clamp_(min=options.lr_student_min)

        leaves = {
            "images": Leaf(
                images,
                partial(sgd, lr=options.lr_images),
                limit=RUNAWAY,
                average=options.average,
            ),
            "learning_rate": Leaf(
                torch.tensor(options.lr_student),
                partial(sgd, lr=options.lr_lr),
                constraint=bounded,
                limit=options.lr_student_max,
            ),
        }
        if options.labels == "learned":
            momentum = options.momentum_labels
            momentum = options.momentum if momentum is None else momentum
            leaves["labels"] = Leaf(
                self._first_labels(shard, images),
                partial(sgd, lr=options.lr_labels, momentum=momentum),
            )
        return leaves

    def _first_labels(self, shard: Shard, images: Tensor) -> Tensor:
        """Return the logits (N, classes) from which learned labels of these images start."""
        options, count = self.options, len(self.run.classes)
        if options.label_start == "confidence":
            return one_hot_logits(shard.classes, count, options.label_confidence)
        last = last_members(self.experts, options.teachers)
        each = (self._logits(member, images).cpu() for member in last)
        return mean_of_right(each, shard.classes)

    def _right(self, label: int) -> Tensor:
        """Return the training images that a class starts from: those that experts get right."""
        run = self.run
        if label not in self._chosen:
            check_stop()  # nothing is lost: what is chosen follows from the pool

            def logits(member: int, rows: Tensor) -> Tensor:
                pixels = sent(as_pixels(run.train.take(rows)), run.device)
                return self._logits(member, run.space.encode(pixels))

            last = last_members(self.experts)
            rows = shuffled(run, label)
            self._chosen[label] = right_ones(rows, label, min(run.ipc, len(rows)), last, logits)
        return self._chosen[label]

    def measured(self) -> Mapping[str, Any]:
        if self.options.kept_graphs != "auto" or self.run.config.memory_budget is not None:
            return {}
        return {"kept_graphs": kept_graphs(self.run, TeslaObjective)}

    def _settle(self) -> None:
        """Settle what is measured once for all shards of a run, however often it is stopped."""
        run = self.run
        if run.config.memory_budget is not None:
            sizes = run.settled("sizes", lambda: fitting_sizes(run, TeslaObjective))
            self.micro_batch, self.snapshot_every = sizes["micro_batch"], sizes["snapshot_every"]
            self.kept_graphs = sizes.get("kept_graphs", 0)  # a run of ddkit 0.1 kept none
        elif self.options.kept_graphs == "auto":
            self.kept_graphs = run.settled("kept graphs", lambda: kept_graphs(run, TeslaObjective))
        else:
            self.kept_graphs = self.options.kept_graphs

    def draw(self, shard: Shard, step: int) -> Mapping[str, Tensor]:
        """Return the images that the student's batches hold, where those are not all."""
        drawn = torch.cat(self._batches(shard, step)).unique()
        if len(drawn) == len(shard):
            return {}
        names = ("images", "labels") if self.options.labels == "learned" else ("images",)
        return dict.fromkeys(names, drawn)

    def loss(self, shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        options = self.options
        images, rate = leaves["images"], leaves["learning_rate"]
        expert, start = self._segment(shard, step)
        batches = self._batches(shard, step)
        drawn = torch.cat(batches).unique()
        labels = self._labels(leaves, shard.classes[drawn], expert, start)
        matched = match(
            self.student,
            self._parameters(expert[start]),
            self._parameters(expert[start + options.expert_epochs]),
            [
                self._augmented(shard, torch.searchsorted(drawn, rows), step, number)
                for number, rows in enumerate(batches)
            ],
            images,
            labels,
            rate,
            gradient=options.gradient,
            micro_batch=self.micro_batch,
            snapshots=Snapshots(options.snapshots, self.snapshot_every),
            kept_graphs=self.kept_graphs,
            skip_above=options.skip_above,
        )
        self.skipped += matched.skipped
        if self.skipped and step + 1 == self.steps:
            self.run.progress.note(
                f"{self.skipped} of {self.steps} iterations changed nothing, because their loss "
                f"was above skip_above={options.skip_above:g}"
            )
        if matched.skipped:
            return matched.loss.requires_grad_()  # no leaf gets a gradient, so none takes a step
        gradients = {images: matched.images, rate: matched.learning_rate}
        if matched.labels is not None:
            logits = leaves["labels"]
            (gradients[logits],) = torch.autograd.grad(labels, logits, matched.labels)
        return with_gradients(matched.loss, gradients)

    def decode(self, shard: Shard, leaves: Mapping[str, Tensor]) -> Synthetic:
        logits = leaves.get("labels")
        return Synthetic(
            self.pixels(leaves["images"]),
            shard.classes,
            learning_rate=float(leaves["learning_rate"]),
            label_logits=None if logits is None else logits.detach().cpu(),
        )

    def state_dict(self) -> dict[str, Tensor]:
        bounded = self.options.skip_above < inf
        return {"skipped": torch.tensor(self.skipped)} if bounded else {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.skipped = int(state.get("skipped", 0))

    def _generator(self, purpose: str, shard: Shard, *indices: int) -> torch.Generator:
        """Return a group's generator; the first group draws what a set without groups does."""
        return self.run.generator(purpose, *indices, *([shard.index] if shard.index else []))

    def _segment(self, shard: Shard, step: int) -> tuple[list[int], int]:
        """Return the expert of an iteration, as members by epoch, and the epoch t to start from."""
        generator = self._generator("segment", shard, step)
        expert = int(torch.randint(len(self.experts), (), generator=generator))
        first, last = self.options.min_start_epoch, self.options.last_start(step)
        start = int(torch.randint(first, last + 1, (), generator=generator))
        return self.experts[expert], start

    def _batches(self, shard: Shard, step: int) -> list[Tensor]:
        """Return the rows of each student step: the set in random order, again when it ends."""
        generator = self._generator("student batches", shard, step)
        size = self.options.batch_syn or len(shard)
        batches: list[Tensor] = []
        while len(batches) < self.options.student_steps:
            batches += torch.split(torch.randperm(len(shard), generator=generator), size)
        return batches[: self.options.student_steps]

    def _augmented(self, shard: Shard, rows: Tensor, step: int, number: int) -> Batch:
        device = self.run.device
        if self.options.augmentation == "none":
            return Batch(sent(rows, device))
        _, height, width = self.run.shape
        generator = self._generator("student dsa", shard, step, number)
        drawn = draw_dsa(len(rows), (height, width), generator, flip=self.run.train.mirror)
        return Batch(sent(rows, device), drawn.to(device))

    def _labels(
        self, leaves: Mapping[str, Tensor], classes: Tensor, expert: list[int], start: int
    ) -> Tensor:
        """Return int64 classes (N,) or probabilities (N, classes) that the student trains towards.

        Those of an expert are constants, of the images without augmentation (section 3.4).
        """
        kind = self.options.labels
        if kind == "hard":
            return sent(classes, self.run.device)
        if kind == "learned":
            return torch.softmax(leaves["labels"], dim=1)
        teacher = expert[start + self.options.expert_epochs if kind == "target" else -1]
        return torch.softmax(self._logits(teacher, leaves["images"]), dim=1)

    @torch.no_grad()
    def _logits(self, member: int, inputs: Tensor) -> Tensor:
        """Return what a member of the pool says of network inputs, on the device."""
        network = self.pool.network(member)
        size = min(self.micro_batch or FORWARD_BATCH, FORWARD_BATCH)
        parts = torch.split(inputs, size)
        return torch.cat([network(sent(part, self.run.device)) for part in parts])

    def _parameters(self, index: int) -> list[Tensor]:
        """Return a member's parameters in the student's order, on the device."""
        state = self.pool.state(index)
        return [sent(state[name], self.run.device).to(torch.float32) for name in self.names]

    def _check_pool(self) -> None:
        """Raise `DdkitError` where the experts are of another network or too short."""
        own, theirs = self.run.config.network, self.pool.networks
        if any(parse_network(own) != parse_network(spec) for spec in theirs):
            way_out = f"use --network {theirs[0]}, or " if len(theirs) == 1 else ""
            raise DdkitError(
                f"the pool's experts are of the network {', '.join(theirs)}, but the student is "
                f"{own}: {way_out}leave --pool out to train experts"
            )
        check_epochs(self.options, min(len(expert) for expert in self.experts) - 1)

    def _check_network(self, network: torch.nn.Module) -> None:
        """Raise `DdkitError` where an expert's parameters do not make the expert."""
        check_micro_batch(self.options.micro_batch, network)
        own = self.pool.state(self.experts[0][0])
        norms = {id(buffer) for layer in batch_norms(network) for buffer in layer.buffers()}
        for name, buffer in network.named_buffers():
            if id(buffer) in norms or name not in own:
                continue
            if not torch.equal(own[name].cpu(), buffer.cpu().to(own[name].dtype)):
                raise DdkitError(
                    f"this network draws or learns '{name}', which is not a parameter: a student "
                    "with an expert's parameters would be another network; make it a parameter, or "
                    "the same in every network"
                )


def one_hot_logits(classes: Tensor, count: int, confidence: float) -> Tensor:
    """Return logits (N, count) float32 whose softmax gives each class in `classes` `confidence`."""
    height = log(confidence / (1 - confidence) * (count - 1)) if count > 1 else 0.0
    return height * torch.nn.functional.one_hot(classes, count).float()

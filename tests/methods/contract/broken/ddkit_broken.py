"""Methods that each break one promise, and keep all others."""

from types import ModuleType

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, field_validator

from ddkit import (
    Evaluation,
    ImageObjective,
    MethodOptions,
    Objective,
    SoftLabels,
    Synthetic,
    hookimpl,
    option,
)
from ddkit.data.sources import load as sources
from ddkit.synthesis.shards import Shard


class Target(ImageObjective):
    """The objective that breaks nothing: images move towards a target that each step draws."""

    steps = 4

    def target(self, shard, step):
        return torch.randn(self.run.shape, generator=self.run.generator("target", step))

    def loss(self, shard, leaves, step):
        return (leaves["images"] - self.target(shard, step)).square().mean()


class SeedsTorch(Target):
    def target(self, shard, step):
        torch.manual_seed(step)
        return torch.randn(self.run.shape)


class DrawsFromTorch(Target):
    def target(self, shard, step):
        return torch.randn(self.run.shape)


class Detaches(Target):
    def loss(self, shard, leaves, step):
        return super().loss(shard, {"images": leaves["images"].detach()}, step)


class ForgetsTheImages(Target):
    """The gradient reaches another leaf only."""

    def initialise(self, shard):
        leaves = super().initialise(shard)
        scale = ImageObjective.initialise(self, shard)["images"]
        return {**leaves, "scale": scale}

    def loss(self, shard, leaves, step):
        return (leaves["images"].detach() - leaves["scale"]).square().mean()


class ChangesRest(Target):
    """What a step draws is also subtracted from all images, when they are decoded."""

    def initialise(self, shard):
        self.shift = torch.zeros(())
        return super().initialise(shard)

    def draw(self, shard, step):
        return {"images": torch.tensor([step % len(shard)])}

    def loss(self, shard, leaves, step):
        self.shift = self.shift + leaves["images"].detach().mean()
        return super().loss(shard, leaves, step)

    def decode(self, shard, leaves):
        return super().decode(shard, {"images": leaves["images"] - 0.1 * self.shift})

    def state_dict(self):
        return {"shift": self.shift}

    def load_state_dict(self, state):
        self.shift = state["shift"].clone()


class KeepsGraphs(Target):
    def loss(self, shard, leaves, step):
        error = leaves["images"] - self.target(shard, step)
        self.errors = [*getattr(self, "errors", []), error]
        return error.square().mean()


class ShrinksImages(Target):
    def decode(self, shard, leaves):
        images = super().decode(shard, leaves)
        return Synthetic(F.avg_pool2d(images.images, 2), images.classes)


class ForgetsItsState(Target):
    """A count of steps that no checkpoint holds."""

    def initialise(self, shard):
        self.count = 0
        return super().initialise(shard)

    def loss(self, shard, leaves, step):
        self.count += 1
        return (
            super().loss(shard, leaves, step) * self.count
            + (leaves["images"] - self.count).square().mean()
        )


class LosesAnImage(Target):
    def shards(self):
        return [Shard.of(self.run, 0, torch.arange(self.run.total - 1))]


class GivesALossPerImage(Target):
    def loss(self, shard, leaves, step):
        return (leaves["images"] - self.target(shard, step)).square().mean((1, 2, 3))


class OpensTheTestSplit(Target):
    def __init__(self, run):
        super().__init__(run)
        sources.load(run.config.data, "test")


class LaxOptions(MethodOptions):
    model_config = ConfigDict(extra="ignore")


class CrashingOptions(MethodOptions):
    size: str = option("small", "small or large")

    @field_validator("size")
    @classmethod
    def _is_known(cls, size):
        return {"small": "small", "large": "large"}[size]


class IdleOptions(MethodOptions):
    size: int = option(1, "of nothing")

    def work(self, stage, per_epoch):
        return 0.0


def method(objective: type[Objective] = Target, **hooks) -> ModuleType:
    """Return a plugin of this objective; further hooks are functions."""
    plugin = ModuleType("ddkit_broken_method")
    hooks = {"synthesis_loss": lambda run, pool: objective(run), **hooks}
    for name, function in hooks.items():
        setattr(plugin, name, hookimpl(function))
    return plugin


def check_that_relabels(run):
    run.train.labels.zero_()


def check_that_opens_test_data(run):
    sources.load(run.config.data, "test")


def wide_labels(run, pool, images):
    return SoftLabels(torch.zeros(len(images), len(run.classes) + 1))


def missing_labels(run, pool, images):
    return SoftLabels(torch.full((len(images), len(run.classes)), torch.nan))


def percent(run, distilled, network, seeds):
    return Evaluation((87.2,), network, "own", "hard", 0.1, 1.0)


seeds_torch = method(SeedsTorch)
draws_from_torch = method(DrawsFromTorch)
detaches = method(Detaches)
forgets_the_images = method(ForgetsTheImages)
changes_rest = method(ChangesRest)
keeps_graphs = method(KeepsGraphs)
shrinks_images = method(ShrinksImages)
forgets_its_state = method(ForgetsItsState)
loses_an_image = method(LosesAnImage)
gives_a_loss_per_image = method(GivesALossPerImage)
opens_the_test_split = method(OpensTheTestSplit)
changes_the_run_in_its_check = method(check=check_that_relabels)
opens_test_data_in_its_check = method(check=check_that_opens_test_data)
gives_wide_labels = method(relabel=wide_labels)
gives_missing_labels = method(relabel=missing_labels)
counts_percent = method(evaluate=percent)
takes_any_option = method(method_config=lambda: LaxOptions)
crashes_on_options = method(method_config=lambda: CrashingOptions)
does_no_work = method(method_config=lambda: IdleOptions)

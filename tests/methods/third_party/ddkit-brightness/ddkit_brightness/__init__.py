"""The shortest method that learns something: images as bright as the average of their class."""

import torch

from ddkit import ImageObjective, MethodOptions, hookimpl, option


class BrightnessOptions(MethodOptions):
    steps: int = option(20, "optimiser steps", ge=0)


class Brightness(ImageObjective):
    def __init__(self, run):
        super().__init__(run)
        self.steps = run.options.steps
        inputs, labels = run.resident.inputs(torch.arange(len(run.train))), run.train.labels
        self.targets = torch.stack([inputs[labels == c].mean() for c in range(len(run.classes))])

    def loss(self, shard, leaves, step):
        gaps = leaves["images"].mean((1, 2, 3)) - self.targets[shard.classes]
        return gaps.square().mean()


@hookimpl
def method_config():
    return BrightnessOptions


@hookimpl
def synthesis_loss(run, pool):
    return Brightness(run)

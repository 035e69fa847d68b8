"""What else a distribution can bring, each found by its name: see the entry points."""

from pathlib import Path

import click
import torch
from torch import nn

from ddkit import Alias, Protocol, Recipe, Split

GLANCE = Alias(method="brightness", options={"steps": 3}, summary="a few steps of brightness")

BRIEF = Protocol(name="brief", labels="hard", recipe=Recipe(epochs=20, batch_size=16, lr=0.1))


def linear(classes: int, shape: tuple[int, int, int], bias: bool = True) -> nn.Module:
    """A network: one layer on the pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), classes, bias=bias))


def stripes(options, split):
    """A data set: horizontal or vertical stripes, bright or less so."""
    generator = torch.Generator().manual_seed(int(split == "test"))
    labels = torch.arange(60) % 2
    stripe = (torch.arange(8) % 2 * 200).expand(8, 8)
    images = torch.where((labels == 0).view(-1, 1, 1), stripe, stripe.T)[:, None]
    images = images + torch.randint(56, images.shape, generator=generator)
    return Split(images.to(torch.uint8), labels, ("vertical", "horizontal"))


@click.command(short_help="say how bright the images of a distilled set are")
@click.argument("artifact", type=click.Path(path_type=Path))
def brightness(artifact):
    """A command: `ddkit brightness ARTIFACT`."""
    import ddkit

    distilled = ddkit.load(artifact)
    pixels = distilled.pixels(torch.arange(len(distilled)))
    click.echo(f"mean brightness {pixels.mean():.3f}")

"""The network that images are matched in: trained on the images as they become, then frozen."""

import torch
from torch import Tensor, nn

from ddkit import (
    Batches,
    Recipe,
    Run,
    apply_dsa,
    average_statistics,
    batch_count,
    batches_of,
    derive,
    draw_dsa,
    fit,
    generator,
    seeded,
    sent,
)
from ddkit_matching.options import MatchingOptions

NORM_BATCH = 256  # images of all classes at a time, so that memory does not follow their number


def train_on_images(
    network: nn.Module,
    inputs: Tensor,
    classes: Tensor,
    options: MatchingOptions,
    seed: int,
    *,
    flip: bool,
) -> None:
    """Train `network` in place on the synthetic set for `inner_epochs` epochs, by plain SGD.

    Without momentum, as in the released code: nothing but the weights lives on. With DSA each image
    is augmented by itself.

    Args:
        network: on the device of `inputs`.
        inputs: (n, channels, H, W), the images as network inputs, constants.
        classes: int64 (n,).
        options: the loops are numbers, not 0.
        seed: of the order of the images, of their augmentation, of what the network draws.
        flip: whether DSA may mirror images.

    Raises `Diverged` where the loss is seen not to be finite any more: on CUDA that may be later.
    """
    recipe = Recipe(
        epochs=options.inner_epochs,
        batch_size=options.batch_network,
        optimiser="sgd",
        lr=options.lr_network,
        momentum=0,
        weight_decay=0,
        schedule="constant",
    )
    size = (inputs.shape[-2], inputs.shape[-1])

    def batches(epoch: int) -> Batches:
        order = torch.randperm(len(inputs), generator=generator(seed, "order", epoch))
        draws = generator(seed, "dsa", epoch)
        for rows in batches_of(sent(order, inputs.device), recipe.batch_size):
            seen = inputs[rows]
            if options.augmentation == "dsa":
                seen = apply_dsa(seen, draw_dsa(len(rows), size, draws, flip=flip))
            yield seen, classes[rows]

    steps = batch_count(len(inputs), recipe.batch_size)
    for _ in fit(
        network,
        batches,
        recipe,
        steps_per_epoch=steps,
        seed=derive(seed, "network"),
        last_look=False,
    ):
        pass


def freeze(run: Run, network: nn.Module, rows: Tensor, seed: int) -> None:
    """Leave `network` in eval mode, its batch norms with the statistics of real images.

    A few synthetic images make no statistics. Those of the training images at `rows` (int64, of all
    classes in random order) are averaged over batches. No rows: the network has no batch norms.
    """
    network.train()
    with seeded(seed, run.device):
        average_statistics(network, run.resident.served(batches_of(rows, NORM_BATCH)))
    network.eval()

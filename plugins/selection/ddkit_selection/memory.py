"""Whether choosing fits a memory budget: the features of a class, or the patches of one."""

from math import prod

import torch

from ddkit import (
    PATCH_BATCH,
    DdkitError,
    HeldPool,
    Run,
    made_up_member,
    patch_losses,
    peak_of,
    readable,
    trial_run,
    untrained_network,
    weights_of,
)
from ddkit_selection.features import BATCH, network_features, pixel_features
from ddkit_selection.rules import RULES


def check_budget(run: Run) -> None:
    """Raise `DdkitError` where choosing from the largest class takes more than the run's budget.

    Untrained networks stand for the teachers.
    """
    options, budget = run.options, run.config.memory_budget or 0
    count = options.teachers if options.features == "network" else 0
    networks = [untrained_network(run)] * count
    pool = HeldPool(run, networks, [made_up_member("teacher", number) for number in range(count)])
    held = sum(weights_of(network) for network in networks)
    taken, doing = (_of_patches if options.rule == "rded" else _of_features)(run, pool)
    if held + taken > budget:
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small: {doing} needs "
            f"{readable(held + taken)}; "
            + ("lower teachers, or --set features=pixels" if count else "--resize the images")
        )


def _of_features(run: Run, pool: HeldPool) -> tuple[int, str]:
    """Return the bytes that a class takes, and what for.

    One and two batches are measured: a class takes as much more with each further image.
    """
    labels = run.train.labels
    rows = (labels == torch.bincount(labels).argmax()).nonzero().flatten()
    members = range(len(pool))

    def peak(images: int) -> int:
        work = trial_run(run)  # with pixels of its own on the device

        def choose() -> None:
            part = rows[:images]
            own = network_features(work, pool, members, part) if members else None
            RULES[run.options.rule](pixel_features(work, part) if own is None else own, 1)

        return peak_of(choose, run.device)

    once, twice = (peak(min(size, len(rows))) for size in (BATCH, 2 * BATCH))
    more = max(0, len(rows) - 2 * BATCH) * max(0, twice - once) // BATCH
    return twice + more, f"choosing from the {len(rows)} images of a class"


def _of_patches(run: Run, pool: HeldPool) -> tuple[int, str]:
    """Return the bytes that the patches of a class take, and those of looking at some of them."""
    options, (channels, height, width) = run.options, run.shape
    along = options.patches_along(run.shape)
    size = (channels, height // along, width // along)
    count = max(options.candidates, run.ipc * along**2)
    made_up = torch.zeros(min(PATCH_BATCH, count * options.crops), *run.shape, device=run.device)
    losses = patch_losses(pool, range(len(pool)))
    taken = peak_of(lambda: losses(made_up, 0), run.device)
    kept = 2 * count * prod(size)  # the best of each image, and the collages
    return taken + kept, f"choosing from {count * options.crops} patches of a class"

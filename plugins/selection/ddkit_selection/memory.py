"""Whether the features of a class fit a memory budget: what else there is does not grow with it."""

import torch

from ddkit import (
    DdkitError,
    HeldPool,
    Run,
    made_up_member,
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

    Untrained networks stand for the teachers. One and two batches are measured: a class takes as
    much more with each further image.
    """
    options, budget = run.options, run.config.memory_budget or 0
    labels = run.train.labels
    rows = (labels == torch.bincount(labels).argmax()).nonzero().flatten()
    count = options.teachers if options.features == "network" else 0
    networks = [untrained_network(run)] * count
    pool = HeldPool(run, networks, [made_up_member("teacher", number) for number in range(count)])
    held = sum(weights_of(network) for network in networks)

    def peak(images: int) -> int:
        work = trial_run(run)  # with pixels of its own on the device

        def choose() -> None:
            part = rows[:images]
            own = network_features(work, pool, range(count), part) if count else None
            RULES[options.rule](pixel_features(work, part) if own is None else own, 1)

        return held + peak_of(choose, run.device)

    once, twice = (peak(min(size, len(rows))) for size in (BATCH, 2 * BATCH))
    needed = twice + max(0, len(rows) - 2 * BATCH) * max(0, twice - once) // BATCH
    if needed > budget:
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small: choosing from the {len(rows)} "
            f"images of a class needs {readable(needed)}; "
            + ("lower teachers, or --set features=pixels" if count else "--resize the images")
        )

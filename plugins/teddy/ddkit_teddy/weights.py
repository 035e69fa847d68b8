"""How much each member of a committee counts (CV-DD, Cui et al., 2025)."""

from collections.abc import Sequence

import torch

from ddkit import DdkitError, Pool, Run
from ddkit_teddy.options import TeddyOptions

FIGURE = "holdout_accuracy"


def softmax_weights(accuracies: Sequence[float], temperature: float) -> list[float]:
    """Return softmax(a / T), which sums to 1, of accuracies in percent.

    CV-DD's prior, here of accuracies on the holdout: its published ones are test accuracies.
    """
    scaled = torch.tensor(accuracies, dtype=torch.float64) / temperature
    return torch.softmax(scaled, 0).tolist()


def step_weights(
    run: Run, pool: Pool, members: Sequence[int], indices: Sequence[int]
) -> list[float] | None:
    """Return the weights of a step's members, None where all count alike.

    Args:
        members: those that the step has drawn.
        indices: of the step: what random weights follow from.
    """
    options: TeddyOptions = run.options
    if options.weights == "holdout":
        return softmax_weights(holdout_accuracies(pool, members), options.weight_temperature)
    if options.weights == "random":
        drawn = torch.rand(len(members), generator=run.generator("weights of a step", *indices))
        return (drawn / drawn.sum()).tolist()
    return None


def label_weights(run: Run, pool: Pool, members: Sequence[int]) -> list[float] | None:
    """Return the weights of the members that label, None where all count alike."""
    options: TeddyOptions = run.options
    if options.weights != "holdout":
        return None
    return softmax_weights(holdout_accuracies(pool, members), options.label_weight_temperature)


def holdout_accuracies(pool: Pool, members: Sequence[int]) -> list[float]:
    """Return members' accuracies on the holdout in percent; `DdkitError` where one has none."""
    figures = [pool.members[member].figures.get(FIGURE) for member in members]
    found = [100 * figure for figure in figures if figure is not None]
    if len(found) < len(figures):
        raise DdkitError(
            "weights=holdout: the members of this pool were not measured on a holdout: train a "
            "pool with --holdout, such as --holdout 0.1, or use --set weights=equal"
        )
    return found


def check_weights(run: Run) -> None:
    """Raise `DdkitError` where members are to be weighted by a holdout that the run has not."""
    if run.options.weights == "holdout" and run.holdout is None and run.config.pool is None:
        raise DdkitError(
            "weights=holdout weights members by their accuracy on a holdout, but this run sets "
            "none aside: add --holdout, such as --holdout 0.1, or use --set weights=equal"
        )

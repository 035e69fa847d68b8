"""The labels that end in the artifact: made again for the final images."""

from ddkit import HardLabels, Labels, Pool, Run, SoftLabels, Synthetic, logits_of
from ddkit_tesla.experts import check_epochs, last_members, trajectories
from ddkit_tesla.options import TeslaOptions
from ddkit_tesla.starting import mean_of_right


def label(run: Run, pool: Pool, images: Synthetic) -> Labels:
    """Return the labels that the options ask for; soft ones as logits, one per image.

    With labels=learned, images that learned none, such as random ones, get those of `target`, or
    with label_start=experts those that learned ones start from.
    """
    options: TeslaOptions = run.options
    if options.labels == "hard":
        return HardLabels(images.classes)
    if options.labels == "learned" and images.label_logits is not None:
        return SoftLabels(images.label_logits)
    if options.labels == "learned" and options.label_start == "experts":
        last = last_members(trajectories(pool), options.teachers)
        each = (logits_of(pool.network(member), run, images) for member in last)
        return SoftLabels(mean_of_right(each, images.classes))
    members = labelling_members(pool, options)
    total = logits_of(pool.network(members[0]), run, images)
    for member in members[1:]:  # one at a time: those of a hundred experts would not fit
        total += logits_of(pool.network(member), run, images)
    return SoftLabels(total / len(members))


def labelling_members(pool: Pool, options: TeslaOptions) -> list[int]:
    """Return the members that label: the first `teachers` experts, at the epoch that was named."""
    experts = trajectories(pool)
    last = min(len(expert) for expert in experts) - 1
    check_epochs(options, last)
    experts = experts[: options.teachers or len(experts)]
    epoch = options.teacher_epoch
    if epoch < 0:
        target = options.max_start_epoch - 1 + options.expert_epochs
        epoch = last if options.labels == "last" else target
    return [expert[epoch] for expert in experts]

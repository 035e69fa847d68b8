"""Soft labels of the networks that chose the patches, for every epoch of a training (RDED)."""

from ddkit import HardLabels, Labels, Pool, Run, Synthetic, label_epochs
from ddkit_selection.options import SelectionOptions
from ddkit_selection.teachers import members


def label(run: Run, pool: Pool, images: Synthetic) -> Labels:
    """Return the labels that the options ask for.

    The strips of a collage are shuffled before it is cropped; crops show the share of a strip of it
    at least.
    """
    options: SelectionOptions = run.options
    along = options.patches_along(run.shape) if options.rule == "rded" else 1
    if options.labels == "hard":
        return HardLabels(images.classes)
    return label_epochs(
        run,
        images,
        pool,
        members(pool, options.teachers),
        epochs=options.label_epochs,
        scale=(1 / along, 1.0),
        mix=options.mix,
        how="logits",
        temperature=options.temperature,
        strips=along,
    )

"""Labels epoch by epoch, which for a large set takes hours: saved on the way, resumed, stopped."""

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ddkit.data.views import Views
from ddkit.interrupt import Stopped, stop_requested
from ddkit.labels import EpochLabels, joined
from ddkit.objective import Synthetic
from ddkit.run import Run
from ddkit.storage import TensorFile, stable_hash, write_tensors

SAVE_SECONDS = 60.0


def label_epochs(
    run: Run,
    images: Synthetic,
    epochs: int,
    label: Callable[[int], tuple[Tensor, Views]],
    temperature: float,
) -> EpochLabels:
    """Return the labels of all epochs, going on where an earlier try was stopped or killed.

    Args:
        run: of the relabel stage; what is saved on the way lies in its folder.
        images: what is labelled.
        epochs: how many epochs are labelled.
        label: epoch → (logits (N, classes), the views of all N images they belong to); must follow
            from the epoch alone.
        temperature: of the loss that these labels are for.
    """
    folder = _folder(run, images)
    files = [TensorFile(path) for path in sorted(folder.glob("epochs-*.safetensors"))]
    logits = [file["logits"] for file in files]
    views = [Views.from_tensors(file.read(), "views") for file in files]
    done = sum(len(part) for part in logits)
    fresh: list[tuple[Tensor, Views]] = []
    saved = time.monotonic()

    def save() -> None:
        logits.append(torch.stack([part for part, _ in fresh]))
        views.append(joined([part for _, part in fresh]))
        fresh.clear()

    with run.progress.task("labels", epochs, done) as task:
        for epoch in range(done, epochs):
            fresh.append(label(epoch))
            task.advance()
            stop = stop_requested() and epoch + 1 < epochs
            if stop or time.monotonic() - saved > SAVE_SECONDS:
                save()
                tensors = {"logits": logits[-1], **views[-1].tensors("views")}
                write_tensors(folder / f"epochs-{epoch + 1:05d}.safetensors", tensors)
                saved = time.monotonic()
            if stop:
                raise Stopped
    if fresh:
        save()
    return EpochLabels(torch.cat(logits), joined(views), temperature)


def forget_saved(run: Run, images: Synthetic) -> None:
    """Remove what was saved on the way, once the labels are in an artifact."""
    shutil.rmtree(_folder(run, images), ignore_errors=True)


def _folder(run: Run, images: Synthetic) -> Path:
    """Return a folder for these options and these images: others must not be mixed in."""
    pixels = hashlib.blake2b(images.images.contiguous().numpy().data, digest_size=8).hexdigest()
    key = stable_hash([run.config.model_dump(mode="json"), run.train.fingerprint, pixels])
    return run.folder / f".labels-{key}"

"""Labels of a new augmentation of each image in every epoch, and the augmentations to replay."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddkit.data.augmentation.views import Views, render
from ddkit.labels.coded import Logits, about_logits, form_of, sent_logits, tensors_of
from ddkit.labels.drawn import DrawnViews
from ddkit.labels.kinds import Images, Labels, StoredLabels

MOVED_WHOLE = 2**28  # bytes; larger labels go to the device epoch by epoch


class ReplayedLabels(Labels):
    """Labels of augmented images. Training for longer than `epochs` starts over.

    Augmentations are of each image by itself, so that batch size and order are free.
    """

    _at: tuple[int, torch.device | None] | None = None
    _views: Views

    @abstractmethod
    def drawn(self, epoch: int) -> Views:
        """Return the augmentations of all N images in an epoch, 0 ≤ epoch < `epochs`."""

    def views_of(self, epoch: int, device: torch.device | None = None) -> Views:
        """Return the augmentations of all N images in an epoch; those of the last are kept."""
        at = (epoch % self.epochs, device)
        if self._at != at:
            views = self.drawn(at[0])
            self._at, self._views = at, views if device is None else views.to(device)
        return self._views

    def view(self, images: Images, rows: Tensor, epoch: int) -> Tensor:
        """Return the augmented images at `rows`."""
        return render(images, self.views_of(epoch, rows.device), rows)


@dataclass
class EpochLabels(ReplayedLabels, StoredLabels):
    """Logits of every epoch: (epochs, N, classes), float16, float32 or coded.

    Attributes:
        views: epochs · N rows, epoch by epoch; or how they are drawn again.
    """

    logits: Logits
    views: Views | DrawnViews
    temperature: float = 1.0
    kind: ClassVar[str] = "epoch"
    _sent: tuple[int, Logits] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def epochs(self) -> int:
        return len(self.logits)

    @property
    def count(self) -> int:
        """How many images the set has."""
        return self.logits.shape[1]

    @property
    def form(self) -> str:
        return form_of(self.logits)

    @property
    def views_are_stored(self) -> bool:
        """Whether augmentations are written down, and not drawn again."""
        return isinstance(self.views, Views)

    def tensors(self) -> dict[str, Tensor]:
        logits = tensors_of(self.logits, "labels.logits")
        if isinstance(self.views, DrawnViews):
            return logits
        return logits | self.views.tensors("labels.views")

    def about(self) -> dict[str, Any]:
        drawn = {"views": self.views.about()} if isinstance(self.views, DrawnViews) else {}
        return about_logits(self.logits) | drawn

    def to(self, device: torch.device) -> "EpochLabels":
        if self.bytes > MOVED_WHOLE:
            return self
        views = self.views if isinstance(self.views, DrawnViews) else self.views.to(device)
        return EpochLabels(sent_logits(self.logits, device), views, self.temperature)

    def targets(self, rows: Tensor, epoch: int) -> Tensor:
        return self._logits_of(epoch % self.epochs, rows.device)[rows].float()

    def _logits_of(self, epoch: int, device: torch.device) -> Logits:
        """Return the logits of an epoch on a device; those sent last are kept there."""
        if self.logits.device == device:
            return self.logits[epoch]
        if self._sent is None or self._sent[0] != epoch or self._sent[1].device != device:
            self._sent = epoch, sent_logits(self.logits[epoch], device)
        return self._sent[1]

    def drawn(self, epoch: int) -> Views:
        if isinstance(self.views, DrawnViews):
            return self.views.of(epoch)
        start = epoch * self.count
        device = self.views.crop.device
        return self.views.rows(torch.arange(start, start + self.count, device=device))

    def kept(self, epochs: int) -> "EpochLabels":
        """Return the labels of the first `epochs`; as draws they are as good as any others."""
        views = self.views
        if isinstance(views, Views):
            views = views.rows(torch.arange(epochs * self.count, device=views.crop.device))
        return replace(self, logits=self.logits[:epochs], views=views)

    def written_down(self) -> Views:
        """Return the views of all epochs, epoch by epoch, drawn again or not."""
        if isinstance(self.views, Views):
            return self.views
        return joined([self.views.of(epoch) for epoch in range(self.epochs)])


def joined(views: Sequence[Views]) -> Views:
    """Return the views of all epochs as one, epoch by epoch; they share mix and strips."""
    parts: dict[str, Any] = {
        name: torch.cat([getattr(view, name) for view in views]) for name in views[0].fields
    }
    return replace(views[0], **parts)

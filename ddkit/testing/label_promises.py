"""What a method promises of its labels, of the artifact they end in, and of its own protocol."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit.distilled.dataset import ARTIFACT, DistilledDataset, load
from ddkit.distilled.writing import write_distilled
from ddkit.labels import Labels
from ddkit.pipeline.prepare import describe
from ddkit.pipeline.stages import Stage
from ddkit.synthesis.images import Synthetic, as_pixels
from ddkit.testing.method import MethodUnderTest, attempted
from ddkit.testing.promises import Broken, promise
from ddkit.testing.subject import Subject

EPOCHS = 2


class LabelPromises(MethodUnderTest):
    """Of the hooks `relabel` and `evaluate`."""

    @promise("relabel", "each image has a label: a class, or finite logits of all classes")
    def test_each_image_has_a_label(self, subject: Subject, images: Synthetic) -> None:
        labels, classes = subject.labels, len(subject.run("classes").classes)
        if not labels.temperature > 0:
            raise Broken(f"the temperature is {labels.temperature}")
        for epoch in range(EPOCHS):
            check_targets(labels, images, classes, epoch)

    @pytest.fixture(scope="class")
    @classmethod
    def fitting(cls, subject: Subject, images: Synthetic, labels: Labels) -> Labels:
        """The labels, once it is known that they fit the images."""
        classes = len(subject.run("classes").classes)
        attempted("relabel", lambda: check_targets(labels, images, classes, 0))
        return labels

    @promise("relabel", "labels are the same when the artifact is opened again")
    def test_the_artifact_holds_the_labels(
        self, subject: Subject, images: Synthetic, fitting: Labels
    ) -> None:
        distilled = artifact(subject, images, fitting)
        for epoch in range(EPOCHS):
            pixels, targets = batch(fitting, images, epoch)
            inputs, stored = distilled.inputs(torch.arange(len(images)), epoch)
            if not torch.equal(stored, targets):
                raise Broken(f"targets of epoch {epoch} are others in the artifact")
            if not torch.allclose(inputs, distilled.space.encode(pixels)):
                raise Broken(f"what a network sees in epoch {epoch} is another in the artifact")

    @promise("evaluate", "each evaluation seed gets an accuracy from 0 to 1")
    def test_each_evaluation_seed_gets_an_accuracy(
        self, subject: Subject, images: Synthetic, fitting: Labels
    ) -> None:
        if "evaluate" not in subject.plugin.overridden():
            pytest.skip("the core's protocols are the method's")
        distilled = artifact(subject, images, fitting)
        run = Stage(subject.run("evaluation"), "evaluate").run
        found = subject.plugin.evaluate(run, distilled, self.network, [0])
        if len(found.accuracies) != 1 or not 0 <= found.accuracies[0] <= 1:
            raise Broken(f"the accuracies of one seed are {found.accuracies}")


def batch(labels: Labels, images: Synthetic, epoch: int) -> tuple[Tensor, Tensor]:
    """Return pixels and targets of the whole set in an epoch."""
    return labels.batch(as_pixels(images.images), torch.arange(len(images)), epoch)


def check_targets(labels: Labels, images: Synthetic, classes: int, epoch: int) -> None:
    """Raise `Broken` unless pixels and targets of an epoch are of all images and all classes."""
    pixels, targets = batch(labels, images, epoch)
    count = len(images)
    if pixels.shape != images.images.shape or not pixels.isfinite().all():
        raise Broken(f"pixels of epoch {epoch} are {tuple(pixels.shape)}, or not finite")
    if targets.dtype == torch.int64:
        if tuple(targets.shape) != (count,):
            raise Broken(f"classes are {tuple(targets.shape)}, not {(count,)}")
        if targets.min() < 0 or targets.max() >= classes:
            raise Broken(f"classes are {targets.tolist()}, of {classes} classes in all")
        return
    if tuple(targets.shape) != (count, classes) or targets.dtype != torch.float32:
        shape = tuple(targets.shape)
        raise Broken(f"targets are {shape} of {targets.dtype}, not {(count, classes)} of float32")
    if not targets.isfinite().all():
        raise Broken(f"targets of epoch {epoch} are not finite")
    loss = labels.loss(F.one_hot(torch.arange(count) % classes, classes).float(), targets)
    if loss.dim() != 0 or not loss.isfinite():
        raise Broken(f"the loss towards them is {loss}")


def artifact(subject: Subject, images: Synthetic, labels: Labels) -> DistilledDataset:
    """Write the artifact as the pipeline does, and open it."""
    run = subject.run("artifact")
    path = run.folder / ARTIFACT
    write_distilled(path, images, labels, run.space, describe(run))
    return load(path)

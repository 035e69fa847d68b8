"""Labels that take long are saved on the way."""

import pytest
import torch

from ddkit import Synthetic
from ddkit.labels import making as labelling
from ddkit.runtime.interrupt import Stopped


def label(epoch: int):
    return torch.full((4, 2), float(epoch)).half()


@pytest.fixture
def images() -> Synthetic:
    return Synthetic(torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]))


def test_stopped_labelling_goes_on_and_ends_alike(run, images, monkeypatch):
    the_run = run()
    whole = labelling.each_epoch(the_run, images, 7, label)
    asked = []

    def counted(epoch):
        asked.append(epoch)
        return label(epoch)

    monkeypatch.setattr(labelling, "stop_requested", lambda: len(asked) in (2, 3))
    for _ in range(2):
        with pytest.raises(Stopped):
            labelling.each_epoch(the_run, images, 7, counted)
    resumed = labelling.each_epoch(the_run, images, 7, counted)
    assert asked == list(range(7))
    assert whole[:, 0, 0].tolist() == list(range(7))
    assert torch.equal(whole, resumed)
    labelling.forget_saved(the_run, images)
    assert not list(the_run.folder.glob(".labels-*"))


def test_other_images_do_not_get_labels_that_were_saved(run, images, monkeypatch):
    the_run = run()
    monkeypatch.setattr(labelling, "SAVE_SECONDS", -1.0)
    labelling.each_epoch(the_run, images, 2, label)
    asked = []
    others = Synthetic(torch.ones(4, 1, 8, 8), images.classes)
    labelling.each_epoch(the_run, others, 2, lambda e: (asked.append(e), label(e))[1])
    assert asked == [0, 1]

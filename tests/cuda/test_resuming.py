"""Runs that are stopped wherever they can be, and gone on with, end in the same bytes."""

import pytest

NORMS = "convnet:depth=2:width=8:norm=batch"
RUNS = {
    "teddy": {
        "method": "teddy",
        "settings": "unit=epoch first=1 last=2 every=1 train_batch=16 recalibrate=24 iterations=3 "
        "label_epochs=2 train_augmentation=crop-flip",
        "network": NORMS,
    },
    "tesla, rows on the host": {
        "method": "tesla",
        "settings": "experts=1 train_epochs=2 train_batch=16 expert_epochs=1 max_start_epoch=1 "
        "student_steps=2 iterations=3 batch_syn=3 labels=learned",
    },
    "apm, students of two rounds": {
        "method": "apm",
        "settings": "teachers=1 train_epochs=2 train_batch=16 student_epochs=2 checkpoints=2 "
        "rounds=3 student_every=2",
    },
    "dc, a network of two steps": {
        "method": "dc",
        "settings": "updates=3 outer_loop=2 inner_epochs=1",
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_stopped_and_gone_on_with_ends_in_the_same_bytes(name, made_up):
    report = made_up(**RUNS[name], stopped=True)
    assert not report.error, report.error
    assert not report.faults
    unstopped, stopped = report.found["bytes"]
    assert stopped == unstopped
    assert report.found["stops"] >= 2  # steps, and epochs of the pool where there is one

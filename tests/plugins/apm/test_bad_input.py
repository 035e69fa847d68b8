"""Wrong options get one line and exit code 1, and leave no folder behind."""

import pytest


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["student_epochs=1"],
            [
                "student_epochs=1 is too few for checkpoints=2, at most one per epoch: raise "
                "student_epochs or lower checkpoints"
            ],
        ),
        (["checkpoints=5"], ["student_epochs=4 is too few for checkpoints=5"]),
        (["checkpoints=0"], ["option 'checkpoints'", "greater than or equal to 1", "got 0"]),
        (["rounds=-1"], ["option 'rounds'", "greater than or equal to 0", "got -1"]),
        (["batch_syn=-1"], ["option 'batch_syn'", "greater than or equal to 0"]),
        (["teachers=0"], ["option 'teachers'", "greater than or equal to 1"]),
        (["segment=-1"], ["option 'segment'", "greater than or equal to 0"]),
        (["alpha=-0.1"], ["option 'alpha'", "greater than or equal to 0"]),
        (["momentum=1"], ["option 'momentum'", "less than 1"]),
        (["lr_images=0"], ["option 'lr_images'", "greater than 0"]),
        (["student_every=0"], ["option 'student_every'", "greater than or equal to 1"]),
        (["distance=l3"], ["option 'distance'", "'cosine'", "got 'l3'"]),
        (["labels=soft"], ["option 'labels'", "'ensemble'", "got 'soft'"]),
        (["train_schedule=step:0"], ["option 'train_schedule'", "step:0"]),
        (["student_epoch=5"], ["'student_epoch'", "did you mean 'student_epochs'?"]),
    ],
)
def test_wrong_options_get_one_line_and_leave_no_folder(refused, tmp_path, settings, words):
    line = refused(*(part for setting in settings for part in ("--set", setting)), "-o", "run")
    for word in words:
        assert word in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--memory-budget", "much"],
            [
                "option 'memory_budget' of the run: a size is a number with a unit, such as "
                "6.5GB or "
                "800MB (got 'much')"
            ],
        ),
        (["--memory-budget", "0"], ["option 'memory_budget'", "greater than 0"]),
        (["--memory-budget", "-5GB"], ["a size is a number with a unit", "got '-5GB'"]),
        (
            ["--groups", "3", "--ipc", "2"],
            [
                "--groups 3 is more than the 2 images per class: a group holds at least one "
                "image per class"
            ],
        ),
        (["--groups", "2"], ["--groups 2 is more than the 1 images per class"]),
        (["--groups", "0"], ["option 'groups'", "greater than or equal to 1", "got 0"]),
        (
            ["--relabel-from", "apm", "--set", "relabel.checkpoints=300"],
            ["is too few for checkpoints=300"],
        ),
    ],
)
def test_wrong_flags_get_one_line_and_leave_no_folder(refused, tmp_path, flags, words):
    line = refused(*flags, "-o", "run")
    for word in words:
        assert word in line
    assert not (tmp_path / "run").exists()


def test_a_budget_that_is_too_small_is_one_line_and_leaves_nothing(refused, tmp_path):
    line = refused("--memory-budget", "1kB", "-o", "run")
    assert "--memory-budget 1.0 kB is too small: a segment of 1 image, the smallest" in line
    assert not (tmp_path / "run").exists()

"""Wrong options get one line and exit code 1, and leave no folder behind."""

import pytest


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["student_steps=0"], ["option 'student_steps'", "greater than or equal to 1", "got 0"]),
        (["experts=0"], ["option 'experts'", "greater than or equal to 1"]),
        (["student_step=5"], ["'student_step'", "did you mean 'student_steps'?"]),
        (["labels=soft"], ["option 'labels'", "'target'", "got 'soft'"]),
        (["gradient=truncated"], ["option 'gradient'", "'exact' or 'paper'"]),
        (["train_schedule=step:0"], ["option 'train_schedule'", "step:0"]),
        (["momentum=1"], ["option 'momentum'", "less than 1"]),
        (["label_confidence=1"], ["option 'label_confidence'", "less than 1"]),
        (
            ["lr_student=1e-6"],
            [
                "lr_student must lie between lr_student_min and lr_student_max (got 1e-06, "
                "0.0001 and 10)"
            ],
        ),
        (["lr_student=10"], ["lr_student must lie between", "got 10, 0.0001 and 10"]),
        (["lr_student_min=0.1"], ["lr_student must lie between", "got 0.05, 0.1 and 10"]),
        (
            ["max_start_epoch=4"],
            [
                "max_start_epoch=4 and expert_epochs=1 need epoch 4 (from 3 on), but the "
                "experts have 3"
            ],
        ),
        (["max_start_epoch=1", "expert_epochs=4"], ["need epoch 4 (from 0 on)", "train_epochs"]),
    ],
)
def test_wrong_options_get_one_line_and_leave_no_folder(refused, tmp_path, settings, words):
    line = refused(*(part for setting in settings for part in ("--set", setting)), "-o", "run")
    for word in words:
        assert word in line
    assert not (tmp_path / "run").exists()


def test_parts_of_a_batch_with_batch_norms_are_refused(refused, tmp_path):
    flags = ("--network", "convnet:depth=2:width=8:norm=batch", "--set", "micro_batch=2")
    line = refused(*flags, "-o", "run")
    assert "this network has batch norms" in line
    assert not (tmp_path / "run" / "distilled.safetensors").exists()


def test_a_pool_of_teachers_is_refused(refused):
    teddy = ("unit=step", "first=1", "last=3", "every=2", "train_batch=64", "recalibrate=0")
    flags = [part for setting in teddy for part in ("--set", f"pool.{setting}")]
    line = refused("--pool-from", "teddy", *flags, "--network", "convnet:width=8:norm=batch")
    assert "the synthesis of 'tesla' needs members of the role expert, but the pool of" in line

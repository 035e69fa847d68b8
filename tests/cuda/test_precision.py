"""What runs compute in where they choose, or are told to be faster: on the made-up device."""

import pytest

NORMS = "convnet:depth=1:width=4:norm=batch"
TEDDY = {
    "method": "teddy",
    "settings": "unit=step first=1 last=2 every=1 train_batch=16 recalibrate=24 teachers=1 "
    "iterations=2 label_epochs=1",
    "network": NORMS,
}
TESLA = {
    "method": "tesla",
    "settings": "experts=1 train_epochs=2 train_batch=16 expert_epochs=1 max_start_epoch=1 "
    "student_steps=1 iterations=2 together=1",
}


@pytest.fixture
def computed(made_up):
    """Return a function that does a run in a precision."""

    def run(fields, precision, **more):
        report = made_up(**{**fields, **more, "flags": {"precision": precision}})
        assert not report.error, report.error
        assert not report.faults
        return report

    return run


def test_teddy_is_told_bfloat16(computed):
    """Networks are cast, trained and matched; statistics stay in float32 (tests/teddy)."""
    report = computed(TEDDY, "bf16", protocols=["soft"])
    for stage in ("fit", "later_step"):
        assert any("bfloat16" in line for line in report.roundings(stage))
    assert not (waits := report.waits("later_step")), str(waits)


def test_tesla_bears_tf32_at_most(computed):
    report = computed(TESLA, "bf16")
    steps = report.roundings("later_step")
    assert steps
    assert not (other := steps.without("tf32")), str(other)


def test_evaluations_do_not_bear_bfloat16(computed):
    report = computed(TEDDY, "bf16", protocols=["soft"])
    for stage in ("evaluate_with", "accuracy"):
        rounded = report.roundings(stage)
        assert rounded
        assert not any("bfloat16" in line for line in rounded), str(rounded)


def test_loops_that_measure_try_several_precisions_and_keep_one(computed):
    report = computed(TEDDY, "auto")
    tried = " ".join(report.roundings("later_step"))
    assert "tf32" in tried
    assert "bfloat16" in tried
    waits = report.waits("Engine.optimise", "later_step")  # those that measure may wait
    assert not waits, str(waits)


def test_bytes_stream_to_a_device_that_is_full(made_up):
    report = made_up(**TEDDY, free=1000)
    assert not report.error, report.error
    assert not report.faults
    waits = report.waits("fit", but=["_check_finite"])
    assert not waits, str(waits)


def test_a_run_is_rehearsed(made_up):
    report = made_up(**TEDDY, planned=True)
    assert not report.error, report.error
    assert not report.faults
    assert report.found["planned"] > 0

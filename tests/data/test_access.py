"""Splits that many runs share are read once, and the test split stays closed all the same."""

from contextlib import suppress

import pytest

from ddkit import DdkitError
from ddkit.data.access import KEPT_SPLITS, keeping_splits, kept, sealed_test
from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.data.sources.names import DATA


@pytest.fixture
def reads(monkeypatch, make_split) -> list[str]:
    """Let "digits" be a small split; note what is read of it."""
    noted: list[str] = []

    def source(options, split):
        noted.append(split)
        return make_split(each=20, seed=len(split))

    monkeypatch.setattr(DATA, "load", lambda name: source)
    return noted


def test_a_split_is_read_once_inside_and_each_time_outside(reads):
    with keeping_splits():
        first = sources.load(DataOptions(), "train")
        assert sources.load(DataOptions(), "train") is first
        assert sources.load(DataOptions(), "test") is not first
        assert reads == ["train", "test"]
    assert sources.load(DataOptions(), "train") is not first
    assert sources.load(DataOptions(), "train") is not first
    assert reads == ["train", "test", "train", "train"]


def test_a_block_begins_empty_and_an_inner_one_leaves_the_outer_as_it_was(reads):
    with keeping_splits():
        first = sources.load(DataOptions(), "train")
        with keeping_splits():
            assert sources.load(DataOptions(), "train") is not first
        assert sources.load(DataOptions(), "train") is first


def test_nothing_is_kept_after_an_error(reads):
    with suppress(DdkitError), keeping_splits():
        sources.load(DataOptions(), "train")
        raise DdkitError("stopped")
    sources.load(DataOptions(), "train")
    assert reads == ["train", "train"]


@pytest.mark.parametrize(
    "other", [{"classes": ("a", "b")}, {"resize": 4}, {"flip": False}, {"imbalance": (0.5, 0.6)}]
)
def test_other_options_are_another_split(reads, other):
    with keeping_splits():
        first = sources.load(DataOptions(), "train")
        second = sources.load(DataOptions(**other), "train")
    assert second.fingerprint != first.fingerprint or second.mirror != first.mirror


def test_only_an_imbalanced_draw_has_a_seed(reads):
    uneven = DataOptions(imbalance=(0.2, 0.9))
    with keeping_splits():
        first, second = (sources.load(uneven, "train", seed=seed) for seed in (0, 1))
        assert first.fingerprint != second.fingerprint
        assert sources.load(uneven, "train", seed=0) is first
        assert len(reads) == 2
        even = sources.load(DataOptions(), "train", seed=0)
        assert sources.load(DataOptions(), "train", seed=1) is even


def test_only_the_last_few_splits_are_kept(make_split):
    split = make_split()
    noted = []

    def read(number):
        return lambda: noted.append(number) or split

    with keeping_splits():
        for number in range(KEPT_SPLITS + 2):
            kept(DataOptions(resize=number + 1), "train", 0, read(number))
        assert noted == list(range(KEPT_SPLITS + 2))
        for number in (4, 3, 2):
            kept(DataOptions(resize=number + 1), "train", 0, read(number))
        assert len(noted) == KEPT_SPLITS + 2
        kept(DataOptions(resize=1), "train", 0, read(0))
        assert noted[-1] == 0


def test_a_kept_test_split_stays_closed_while_a_set_is_distilled(reads):
    with keeping_splits():
        sources.load(DataOptions(), "test")
        with sealed_test():
            sources.load(DataOptions(), "train")
            with pytest.raises(DdkitError, match="the test split is closed"):
                sources.load(DataOptions(), "test")
        sources.load(DataOptions(), "test")
    assert reads == ["test", "train"]


def test_what_cannot_be_read_is_not_kept():
    def fail():
        raise DdkitError("the disk is gone")

    with keeping_splits():
        with pytest.raises(DdkitError):
            kept(DataOptions(), "train", 0, fail)
        assert kept(DataOptions(), "train", 0, lambda: "there again") == "there again"

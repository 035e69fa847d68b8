"""Test images that are training images too are counted, in whichever tier the pixels are."""

import json

import datasets
import pytest
import torch
from click.testing import CliRunner
from ddkit_cli.commands.data import data as command

from ddkit.data.access import sealed_test
from ddkit.data.options import DataOptions
from ddkit.data.pixels import base, encoded, tiers
from ddkit.data.repeated import Repeated, repeated
from ddkit.data.sources.load import load
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError

LABELS = datasets.ClassLabel(names=["cat", "dog"])


@pytest.fixture
def options(tmp_path, table):
    """Nine training images; of four test images two are among them, one of these twice."""
    table(list(range(9)), [0, 1, 0] * 3, LABELS).to_parquet(tmp_path / "train.parquet")
    table([100, 7, 3, 7], [0, 1, 0, 1], LABELS).to_parquet(tmp_path / "test.parquet")
    return DataOptions(name=str(tmp_path))


def counted(options):
    return repeated(load(options, "train"), load(options, "test"))


@pytest.mark.parametrize(
    ("tier", "same"), [("memory", "pixels"), ("mapped", "pixels"), ("encoded", "files")]
)
def test_test_images_among_training_images_are_counted(options, monkeypatch, tier, same):
    monkeypatch.setenv("DDKIT_TIER", tier)
    assert counted(options) == Repeated(3, 4, same)
    assert counted(options.model_copy(update={"classes": ("cat",)})).count == 1


def test_tiers_of_two_kinds_are_compared_by_pixels(options, monkeypatch):
    monkeypatch.setenv("DDKIT_TIER", "encoded")
    train = load(options, "train")
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    assert repeated(train, load(options, "test")) == Repeated(3, 4, "pixels")


def test_images_with_detail_are_compared_as_they_are_taken(options):
    larger = options.model_copy(update={"resize": 2, "detail": 3})
    assert counted(larger) == Repeated(3, 4, "pixels")


def test_one_level_makes_another_image_and_labels_do_not():
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    tested = images[[3, 1]].clone()
    tested[1, 2, 3, 3] ^= 1
    train, test = Split(images, torch.arange(5), tuple("abcde")), tested
    assert repeated(train, Split(test, torch.tensor([0, 0]), train.classes)).count == 1


@pytest.mark.parametrize(("tier", "module"), [("mapped", base), ("encoded", encoded)])
def test_what_the_cache_holds_is_hashed_once(options, monkeypatch, tier, module):
    monkeypatch.setenv("DDKIT_TIER", tier)
    counted(options)
    monkeypatch.setattr(module, "short_hash", None)
    assert counted(options).count == 3


def test_hashing_goes_on_where_it_was_stopped(options, monkeypatch):
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    monkeypatch.setattr(base, "CHUNK", 4)
    short_hash, seen = base.short_hash, []

    def stopping(content):
        seen.append(bytes(content)[0])
        if len(seen) == 6:
            raise KeyboardInterrupt
        return short_hash(content)

    monkeypatch.setattr(base, "short_hash", stopping)
    with pytest.raises(KeyboardInterrupt):
        counted(options)
    assert counted(options).count == 3
    assert seen == [0, 1, 2, 3, 4, 5, *range(4, 9), 100, 7, 3, 7]


def test_a_cache_that_cannot_be_written_is_done_without(options, monkeypatch):
    monkeypatch.setattr(tiers, "WORTH_KEEPING", 1)
    train, test = load(options, "train"), load(options, "test")
    for split in (train, test):
        folder = split.images.cache.folder / split.images._named("hashes")
        folder.write_text("no folder")
    assert repeated(train, test).count == 3


def test_changed_images_are_hashed_anew(options, monkeypatch, table, tmp_path):
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    assert counted(options).count == 3
    table([100, 70, 30, 7], [0, 1, 0, 1], LABELS).to_parquet(tmp_path / "test.parquet")
    assert counted(options).count == 1


def test_it_is_not_counted_while_a_set_is_distilled(options):
    with sealed_test(), pytest.raises(DdkitError, match="the test split is closed"):
        counted(options)


def test_the_command_says_how_many(options):
    said = CliRunner().invoke(command, [options.name, "-q"]).output
    assert "3 of 4 test images are in the training split too (the same pixels)" in said
    found = json.loads(CliRunner().invoke(command, [options.name, "--json"]).output)
    assert found["repeated"] == {"count": 3, "same": "pixels"}
    assert found["test"]["images"] == 4

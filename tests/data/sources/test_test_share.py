"""A test split out of images that have none: the same ones always, and sealed like any other."""

from pathlib import Path

import datasets
import pytest
import torch

import ddkit
from ddkit.config import load_config
from ddkit.data.access import sealed_test
from ddkit.data.options import DataOptions
from ddkit.data.sources.load import load
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.errors import DdkitError

CATS, DOGS = list(range(10)), list(range(100, 105))  # the grey of each image


@pytest.fixture
def flat(tree, png) -> Path:
    """Ten cats and five dogs in two folders."""
    greys = {f"cat/{n:03d}.png": png(n) for n in CATS} | {f"dog/{n}.png": png(n) for n in DOGS}
    return tree(greys)


def greys(folder, split, **options) -> list[int]:
    found = load(DataOptions(name=str(folder), **options), split)
    return found.take(torch.arange(len(found)))[:, 0, 0, 0].tolist()


def test_class_folders_without_splits_are_divided_class_by_class(flat):
    train, test = (greys(flat, split, test_share=0.2) for split in ("train", "test"))
    assert (len(train), len(test)) == (12, 3)
    assert len([grey for grey in test if grey in CATS]) == 2
    assert sorted(train + test) == CATS + DOGS
    assert test == sorted(test)


def test_the_same_files_are_tested_whatever_the_seed_and_the_other_classes(flat):
    test = greys(flat, "test", test_share=0.4)
    options = DataOptions(name=str(flat), test_share=0.4)
    assert load(options, "test", seed=7).fingerprint == load(options, "test").fingerprint
    assert greys(flat, "test", test_share=0.4, classes="dog,cat") == test[4:] + test[:4]


def test_a_larger_share_holds_the_smaller_one(flat):
    small, large = (set(greys(flat, "test", test_share=share)) for share in (0.2, 0.6))
    assert small < large


@pytest.mark.parametrize("tier", ["memory", "mapped", "encoded"])
def test_all_tiers_divide_alike(flat, monkeypatch, tier):
    expected = greys(flat, "test", test_share=0.2)
    monkeypatch.setenv("DDKIT_TIER", tier)
    assert greys(flat, "test", test_share=0.2, resize=4) == expected


def test_crops_with_detail_come_of_the_training_side(flat, in_tier):
    train = in_tier("memory", flat, test_share=0.2, resize=2, detail=4)
    images = train.images.crops(
        torch.arange(12), torch.full((4, 12, 10), 0.5, dtype=torch.float64), torch.zeros(12) > 0
    )
    assert images[:, 0, 0, 0].tolist() == greys(flat, "train", test_share=0.2)


def test_a_class_that_cannot_be_divided_is_named(tree, png):
    folder = tree({"cat/1.png": png(1), "cat/2.png": png(2), "dog/1.png": png(3)})
    with pytest.raises(DdkitError, match=r"--test-share: class 'dog' has 1 image.*--classes"):
        greys(folder, "train", test_share=0.5)
    assert len(greys(folder, "test", test_share=0.9, classes=1)) == 1


def test_without_a_share_the_flag_is_named(flat):
    assert len(greys(flat, "train")) == 15
    with pytest.raises(DdkitError, match=r"has no test split: --test-share 0\.2"):
        greys(flat, "test")


def test_a_train_folder_alone_is_divided_and_told_of(flat, heard):
    (flat / "train").mkdir()
    for name in ("cat", "dog"):
        (flat / name).rename(flat / "train" / name)
    assert sorted(greys(flat, "train", test_share=0.2) + greys(flat, "test", test_share=0.2)) == [
        *CATS,
        *DOGS,
    ]
    for _ in range(2):
        assert len(load(DataOptions(name=str(flat)), "train", progress=heard)) == 15
    assert len(heard.notes) == 1
    assert "has no test split, which `ddkit evaluate` will need: --test-share" in heard.notes[0]
    with pytest.raises(DdkitError, match=r"has no test split: it has train, .*; --test-share 0\.2"):
        greys(flat, "test")


def test_a_set_with_a_test_split_of_its_own_keeps_it(parquet, tree, png):
    folder = tree({f"{split}/cat/{n}.png": png(n) for split in ("train", "val") for n in (1, 2)})
    for name, own in ((str(parquet), "validation"), (str(folder), "val")):
        with pytest.raises(
            DdkitError, match=rf"a test split of its own \({own}\): leave out --test-s"
        ):
            greys(name, "train", test_share=0.2)
    with pytest.raises(DdkitError, match="'digits' has a test split of its own"):
        greys("digits", "test", test_share=0.2)


@pytest.mark.parametrize("only", ["train", "validation"])
def test_the_only_table_is_divided_whatever_its_name(tmp_path, table, only):
    table([1, 2, 3, 4], [0, 0, 1, 1]).to_parquet(tmp_path / f"{only}.parquet")
    share = {"test_share": 0.5, "classes": "cat,dog"}
    train, test = (greys(tmp_path, split, **share) for split in ("train", "test"))
    assert sorted(train + test) == [1, 2, 3, 4]
    assert len({grey > 2 for grey in test}) == 2


def test_a_test_table_without_labels_is_no_test_split(tmp_path, table):
    table([1, 2], [0, 0]).to_parquet(tmp_path / "train.parquet")
    table([7], [-1]).to_parquet(tmp_path / "test.parquet")
    assert len(greys(tmp_path, "test", test_share=0.5, classes="cat")) == 1


def test_a_hugging_face_set_of_one_split_is_divided(monkeypatch, table):
    loaded = datasets.DatasetDict(train=table([1, 2, 3, 4], [0, 1, 0, 1]))
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded)
    share = {"test_share": 0.5, "classes": "2"}
    assert sorted(greys("org/a", "train", **share) + greys("org/a", "test", **share)) == [
        1,
        2,
        3,
        4,
    ]


def test_it_is_closed_while_a_set_is_distilled(flat):
    with sealed_test(), pytest.raises(DdkitError, match="the test split is closed"):
        greys(flat, "test", test_share=0.2)


def test_a_run_stores_it_and_evaluation_opens_that_split(flat, tmp_path):
    distilled = ddkit.distill(
        "random", str(flat), 2, network="convnet:depth=1:width=4", threads=1, device="cpu",
        test_share=0.2, out=tmp_path / "run",
    )  # fmt: skip
    config = load_config(tmp_path / "run" / "config.toml")
    assert (config.data.test_share, distilled.config["data"]["test_share"]) == (0.2, 0.2)
    trained_on = {
        int(value) for value in (distilled.pixels(torch.arange(4)) * 255).round().unique()
    }
    assert trained_on <= set(greys(flat, "train", test_share=0.2))
    (row,) = ddkit.evaluate(
        distilled, protocols="plain", seeds=1, epochs=1, random=False, real=False
    )
    assert (row.evaluation.mean * 3) % 1 == pytest.approx(0, abs=1e-6)  # of three test images


def test_configurations_without_it_are_written_as_before():
    assert "test_share" not in DataOptions().model_dump(mode="json")
    assert "test_share" not in resolve(Request("random")).to_toml()
    share = DataOptions(test_share=0.25)
    assert DataOptions(**share.model_dump(mode="json")) == share
    assert resolve(Request("random", data={"test_share": 0.25})).data.test_share == 0.25

import os

import pytest

from ddkit.data.options import DataOptions
from ddkit.data.pixels.picture import Reading
from ddkit.data.sources import load as sources
from ddkit.data.sources.folders import read
from ddkit.data.sources.load import opened
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent


def load(folder, split="train", **options):
    listing = read(DataOptions(name=str(folder), **options), split)
    return opened(listing, Reading(options.get("resize")), Silent())


@pytest.fixture
def pets(tree, png):
    """Two classes; one image lies in a folder within its class, as Tiny ImageNet's do."""
    return tree(
        {
            "train/dog/b.png": png(4),
            "train/dog/a.PNG": png(3),
            "train/cat/images/x.png": png(1),
            "train/cat/notes.txt": b"",
            "val/cat/x.png": png(11),
            "val/dog/x.png": png(12),
        }
    )


def test_folders_are_classes_in_sorted_order(pets):
    train = load(pets)
    assert train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 1, 1]
    assert train.images[:, 0, 0, 0].tolist() == [1, 3, 4]


@pytest.mark.parametrize("name", ["test", "val", "validation", "testing", "Test", "VAL"])
@pytest.mark.parametrize("train", ["train", "training", "Train"])
def test_splits_may_bear_any_usual_name_in_any_case(pets, name, train):
    (pets / "val").rename(pets / name)
    (pets / "train").rename(pets / train)
    assert load(pets).images[:, 0, 0, 0].tolist() == [1, 3, 4]
    assert load(pets, "test").images[:, 0, 0, 0].tolist() == [11, 12]


def test_only_images_of_the_chosen_classes_are_read(pets):
    (pets / "train/dog/a.PNG").write_bytes(b"broken")
    chosen = load(pets, classes=1)
    assert chosen.classes == ("cat",)
    assert len(chosen) == 1


def test_train_and_test_must_agree_on_the_classes(pets):
    (pets / "val/fox").mkdir()
    with pytest.raises(DdkitError, match="have different classes: 'fox' is in one of them only"):
        load(pets)


def test_a_broken_image_is_named_by_its_path(pets):
    (pets / "train/dog/a.PNG").write_bytes(b"broken")
    with pytest.raises(DdkitError, match=r"train/dog/a\.PNG is not a readable image"):
        load(pets)


def test_a_class_folder_without_images_is_named(pets):
    (pets / "train/dog/a.PNG").unlink()
    (pets / "train/dog/b.png").unlink()
    with pytest.raises(DdkitError, match="train/dog holds no images"):
        load(pets)


def test_mixed_sizes_name_the_file_and_the_remedy(pets, png):
    (pets / "train/dog/b.png").write_bytes(png(0, (7, 5)))
    with pytest.raises(DdkitError, match=r"4x4 at first, 7x5 in .*b\.png; .*--resize"):
        load(pets)
    assert load(pets, resize=4).shape == (3, 4, 4)


def test_a_missing_split_lists_those_there_are(tree, png):
    folder = tree({"train/cat/1.png": png(1)})
    with pytest.raises(DdkitError, match="has no test split: it has train, and test or"):
        load(folder, "test")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DdkitError, match=r"gone does not exist: it should hold parquet files"):
        load(tmp_path / "gone")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(DdkitError, match=r"a.zip is a file, not a folder"):
        load(tmp_path / "a.zip")


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(DdkitError, match="is empty: it should hold"):
        load(tmp_path)


@pytest.mark.parametrize("share", [{}, {"test_share": 0.5}])
def test_a_folder_of_another_layout_says_what_is_expected(tree, png, share):
    folder = tree({"notes/1.txt": b"", "1.png": png(1)})
    with pytest.raises(DdkitError, match=r"not laid out as a data set.*train/<class>/"):
        load(folder, **share)


def test_classes_with_commas_are_chosen_by_a_file(pets, tmp_path):
    for split in ("train", "val"):
        (pets / split / "dog").rename(pets / split / "dog, tame")
    (tmp_path / "classes.txt").write_text("dog, tame\n")
    chosen = sources.load(
        DataOptions(name=str(pets), classes=str(tmp_path / "classes.txt")), "train"
    )
    assert chosen.classes == ("dog, tame",)


def test_control_characters_in_the_name_of_a_class_are_told(pets, heard):
    for split in ("train", "val"):
        (pets / split / "dog").rename(pets / split / "dog\x1b[31m")
    assert sources.load(DataOptions(name=str(pets)), "train").classes[1] == "dog\x1b[31m"
    sources.load(DataOptions(name=str(pets)), "test", progress=heard)
    assert heard.notes == [f"{pets}: class 'dog\\x1b[31m' holds control characters"]


def test_a_class_whose_name_is_no_text_is_refused(pets):
    (pets / "train/dog").rename(pets / "train" / os.fsdecode(b"d\xffg"))
    (pets / "val/dog").rename(pets / "val" / os.fsdecode(b"d\xffg"))
    with pytest.raises(DdkitError, match=r"class folder 'd\\udcffg' in .* is not UTF-8: rename it"):
        load(pets)

"""Images whose labels stand in metadata.csv, metadata.jsonl, train.csv or val_annotations.txt."""

import json

import pytest
import torch

from ddkit.data.options import DataOptions
from ddkit.data.sources.load import load
from ddkit.runtime.errors import DdkitError

CSV = "file_name,label\nb.png,dog\na.png,cat\nsub/c.png,dog\n"
JSONL = "\n".join(
    json.dumps({"file_name": name, "label": label})
    for name, label in [("b.png", "dog"), ("a.png", "cat"), ("sub/c.png", "dog")]
)
IMAGES = {"b.png": 1, "a.png": 2, "sub/c.png": 3}


@pytest.fixture
def laid_out(tree, png):
    """Return a function that writes {name: text or grey}, and returns the folder."""

    def write(files):
        return tree({n: f.encode() if isinstance(f, str) else png(f) for n, f in files.items()})

    return write


def inside(folder, files):
    return {f"{folder}/{name}": content for name, content in files.items()}


def read(folder, split="train", **options):
    """Return (greys, labels, classes) of a split."""
    found = load(DataOptions(name=str(folder), **options), split)
    greys = found.take(torch.arange(len(found)))[:, 0, 0, 0].tolist()
    return greys, found.labels.tolist(), found.classes


def refusal(folder, split="train", **options):
    with pytest.raises(DdkitError) as caught:
        read(folder, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")


LISTED = ([1, 2, 3], [1, 0, 1], ("cat", "dog"))


@pytest.mark.parametrize(("table", "text"), [("metadata.csv", CSV), ("metadata.jsonl", JSONL)])
def test_metadata_in_the_folder_of_each_split(laid_out, table, text):
    test = {table: text.splitlines()[0] + "\n" + text.splitlines()[-1], "sub/c.png": 9, "b.png": 7}
    folder = laid_out(inside("train", {table: text, **IMAGES}) | inside("test", test))
    assert read(folder) == LISTED
    assert read(folder, "test", classes="dog")[::2] == (
        [7, 9] if table.endswith("jsonl") else [9],
        ("dog",),
    )


def test_metadata_of_undivided_images_has_a_test_split_by_a_share(laid_out):
    folder = laid_out({"metadata.csv": CSV, **IMAGES, "d.png": 4} | {"x.png": 5})
    (folder / "metadata.csv").write_text(CSV + "d.png,cat\n")
    assert len(read(folder)[0]) == 4
    assert "has no test split: --test-share 0.2" in refusal(folder, "test")
    train, test = (read(folder, split, test_share=0.5) for split in ("train", "test"))
    assert sorted(train[0] + test[0]) == [1, 2, 3, 4]
    assert sorted(test[1]) == [0, 1]


def test_metadata_above_the_folders_of_the_splits(laid_out):
    text = "file_name,label\ntrain/b.png,dog\nvalid/a.png,cat\ntrain/a.png,cat\n"
    folder = laid_out({"metadata.csv": text, "train/b.png": 1, "train/a.png": 2, "valid/a.png": 3})
    assert read(folder) == ([1, 2], [1, 0], ("cat", "dog"))
    assert read(folder, "test") == ([3], [0], ("cat", "dog"))


@pytest.mark.parametrize("root", ["", "train/", "images/", "train/images/"])
def test_a_table_for_each_split(laid_out, root):
    images = {f"{root}a.png": 1, f"{root}b.png": 2, f"{root.replace('train', 'test')}t.png": 8}
    train, test = "file_name,label\nb.png,dog\na.png,cat\n", "file_name;label\r\nt.png;dog\r\n"
    folder = laid_out({"train.csv": train, "test.csv": test, **images})
    assert read(folder) == ([2, 1], [1, 0], ("cat", "dog"))
    assert read(folder, "test") == ([8], [1], ("cat", "dog"))


def test_a_test_table_without_labels_is_none(laid_out):
    folder = laid_out({"train.csv": CSV, "test.csv": "file_name\na.png\n", **IMAGES})
    assert "has no test split: it has train" in refusal(folder, "test")
    assert len(read(folder, "test", test_share=0.5, classes="dog")[0]) == 1


def test_columns_may_be_named(laid_out):
    text = '\ufeffpicture,kind,label\n"a.png","a, b",0\nb.png,c,1\n'
    folder = laid_out({"train.csv": text, **IMAGES})
    assert "names the image files: call it file_name, or say which" in refusal(folder)
    named = {"image_column": "picture", "label_column": "kind"}
    assert read(folder, **named) == ([2, 1], [0, 1], ("a, b", "c"))
    assert "unknown column of train.csv 'kin': did you mean 'kind'" in refusal(
        folder, image_column="picture", label_column="kin"
    )


def test_labels_that_are_numbers_are_ordered_as_such(laid_out):
    text = "file_name,label\nb.png,10\na.png,9\nsub/c.png,10\n"
    assert read(laid_out({"train.csv": text, **IMAGES}))[1:] == ([1, 0, 1], ("9", "10"))


def test_captions_beside_class_folders_are_no_labels(laid_out, heard):
    texts = {"train/metadata.csv": "file_name,text\ncat/a.png,purring\n"}
    folder = laid_out({**texts, "train/cat/a.png": 1, "train/dog/a.png": 2})
    assert read(folder) == ([1, 2], [0, 1], ("cat", "dog"))


def test_images_that_are_not_listed_are_counted(laid_out, heard):
    files = {"metadata.csv": CSV, **IMAGES, "d.png": 4, "e.jpg": 5, ".f.png": 6}
    folder = laid_out(inside("train", files) | inside("test", {"metadata.csv": CSV, **IMAGES}))
    load(DataOptions(name=str(folder)), "train", progress=heard)
    assert heard.notes == [f"{folder}/train: 2 files were left out: 1 .jpg, 1 .png"]


@pytest.mark.parametrize(
    ("table", "text", "message"),
    [
        ("train.csv", CSV + "gone.png,cat\n", "train.csv lists gone.png, which is not in "),
        ("train.csv", CSV + ",cat\n", "line 5 of train.csv has no 'file_name'"),
        ("train.csv", CSV + "a.png,\n", "line 5 of train.csv has no 'label'"),
        ("train.jsonl", JSONL + "\n{", "line 4 of train.jsonl is not JSON (JSONDecodeError"),
        ("train.jsonl", JSONL + "\n[1]", "line 4 of train.jsonl is not a JSON object"),
    ],
)
def test_what_is_wrong_with_a_table_is_named_by_its_line(laid_out, table, text, message):
    assert refusal(laid_out({table: text, **IMAGES})).startswith(message)


def test_a_table_that_is_no_text_is_named(laid_out):
    folder = laid_out(IMAGES)
    (folder / "train.csv").write_bytes(b"\xff\xfe\x00")
    assert refusal(folder).startswith("train.csv is not a readable text (UnicodeDecodeError")


def test_a_label_that_training_never_saw_is_refused(laid_out):
    files = {"train.csv": CSV, "test.csv": "file_name,label\na.png,eel\n", **IMAGES}
    assert "different classes: 'eel' is in one of them only" in refusal(laid_out(files))


@pytest.fixture
def tiny(laid_out):
    """Tiny ImageNet as it is unzipped, of two classes."""
    boxes = {f"train/{c}/{c}_boxes.txt": f"{c}_0.JPEG\t0\t10\t63\t58\n" for c in ("n02", "n01")}
    images = {"train/n02/images/n02_0.JPEG": 2, "train/n01/images/n01_0.JPEG": 1}
    val = {"val/images/val_0.JPEG": 5, "val/images/val_1.JPEG": 6, "test/images/test_0.JPEG": 7}
    lines = "val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t52\t55\t57\t59\n"
    about = {"val/val_annotations.txt": lines, "wnids.txt": "n02\nn01\n", "words.txt": "n01\tcod"}
    return laid_out(boxes | images | val | about)


def test_tiny_imagenet_is_read_as_it_is_unzipped(tiny, heard):
    assert read(tiny) == ([1, 2], [0, 1], ("n01", "n02"))
    assert read(tiny, "test") == ([5, 6], [1, 0], ("n01", "n02"))
    assert read(tiny, "test", classes="n02") == ([5], [0], ("n02",))
    load(DataOptions(name=str(tiny)), "train", progress=heard)
    assert heard.notes == [f"{tiny}/train: 2 files were left out: 2 .txt"]


def test_tiny_imagenet_that_lacks_a_class_is_refused(tiny):
    (tiny / "wnids.txt").write_text("n02\nn01\nn03\n")
    assert "train lacks n03, a class of wnids.txt: unzip" in refusal(tiny)


def test_tiny_imagenet_with_its_validation_images_in_class_folders(tiny):
    for number, name in enumerate(["n02", "n01"]):
        (tiny / "val" / name).mkdir()
        (tiny / f"val/images/val_{number}.JPEG").rename(tiny / f"val/{name}/{number}.JPEG")
    (tiny / "val/images").rmdir()
    assert read(tiny, "test") == ([6, 5], [0, 1], ("n01", "n02"))

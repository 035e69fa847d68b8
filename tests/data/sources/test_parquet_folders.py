import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ddkit.data.options import DataOptions
from ddkit.data.pixels.picture import Reading
from ddkit.data.sources import parquet as rows
from ddkit.data.sources.folders import read
from ddkit.data.sources.load import opened
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent


def load(folder, split="train", **options):
    listing = read(DataOptions(name=str(folder), **options), split)
    return opened(listing, Reading(options.get("resize")), Silent())


def values(split):
    return split.images[:, 0, 0, 0].tolist()


def test_files_are_read_in_order_with_class_names(parquet):
    train = load(parquet)
    assert values(train) == list(range(0, 90, 10))
    assert train.labels.tolist() == [0, 1, 2] * 3
    assert train.classes == ("cat", "dog", "eel")
    assert train.mirror is True


def test_validation_stands_in_for_a_missing_test_split(parquet):
    assert values(load(parquet, "test")) == [100, 101, 102]


def test_test_wins_over_validation(parquet, table):
    table([7], [0]).to_parquet(parquet / "test.parquet")
    assert values(load(parquet, "test")) == [7]


def test_validation_stands_in_for_a_test_split_without_labels(parquet, table):
    table([7], [-1]).to_parquet(parquet / "test.parquet")
    assert values(load(parquet, "test")) == [100, 101, 102]


def test_a_lone_test_split_without_labels_is_refused(tmp_path, table):
    table([7], [-1]).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(DdkitError, match=r"^1 of 1 rows of the test split of .* have no label"):
        load(tmp_path, "test")


@pytest.mark.parametrize("name", ["train.parquet", "data/train-0.parquet", "train/0000.parquet"])
def test_files_may_lie_in_data_or_in_a_folder_per_split(tmp_path, table, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    table([1, 2], [0, 1]).to_parquet(path)
    assert values(load(tmp_path)) == [1, 2]


def test_a_saved_data_set_is_read(tmp_path, splits):
    splits["train"] = splits["train"].select([8, 0, 4])
    splits.save_to_disk(tmp_path / "saved")
    assert values(load(tmp_path / "saved")) == [80, 0, 40]
    assert values(load(tmp_path / "saved", "test")) == [100, 101, 102]


def test_nothing_is_written_when_files_are_read(parquet):
    before = sorted(parquet.rglob("*"))
    load(parquet)
    assert sorted(parquet.rglob("*")) == before


def test_rows_are_read_in_batches_across_row_groups(tmp_path, table, monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 4)
    table(list(range(11)), [0, 1] * 5 + [1]).to_parquet(tmp_path / "train.parquet", batch_size=3)
    assert values(load(tmp_path, classes="dog,cat")) == list(range(11))
    assert values(load(tmp_path, classes=["dog", "eel"])) == [1, 3, 5, 7, 9, 10]


def test_only_chosen_classes_are_decoded(tmp_path, table):
    broken = [{"bytes": b"broken", "path": None}]
    table([1, 2, 3], [0, 1, 2]).to_parquet(tmp_path / "train-0.parquet")
    rows = table([4], [1]).to_dict() | {"image": broken}
    features = table([4], [1]).features
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train-1.parquet")
    chosen = load(tmp_path, classes="eel,cat")
    assert (values(chosen), chosen.labels.tolist()) == ([1, 3], [1, 0])
    with pytest.raises(
        DdkitError, match=r"^row 3 of the train split of .* is not a readable image"
    ):
        load(tmp_path)


def test_images_are_resized_while_they_are_read(parquet):
    assert load(parquet, resize=2).shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("kind", "labels", "names"),
    [("int64", [8, 1, 8], ("1", "8")), ("string", ["b", "a", "b"], ("a", "b"))],
)
def test_plain_labels_become_classes_in_sorted_order(tmp_path, table, kind, labels, names):
    table([1, 2, 3], labels, datasets.Value(kind)).to_parquet(tmp_path / "train.parquet")
    split = load(tmp_path)
    assert split.classes == names
    assert split.labels.tolist() == [1, 0, 1]


def test_the_training_split_defines_the_classes(tmp_path, table):
    table([1, 2, 3], [5, 6, 7], datasets.Value("int64")).to_parquet(tmp_path / "train.parquet")
    table([4], [7], datasets.Value("int64")).to_parquet(tmp_path / "test.parquet")
    test = load(tmp_path, "test")
    assert (test.classes, test.labels.tolist()) == (("5", "6", "7"), [2])


def test_a_label_that_training_never_saw_is_refused(tmp_path, table):
    table([1], [5], datasets.Value("int64")).to_parquet(tmp_path / "train.parquet")
    table([4, 4], [5, 9], datasets.Value("int64")).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(DdkitError, match=r"row 1 .* label '9', which is not one of the classes"):
        load(tmp_path, "test")


def test_of_two_class_labels_the_usual_name_is_taken(tmp_path, table):
    coarse = (datasets.ClassLabel(names=["pet", "fish"]), [1])
    fine = table([1], [2], coarse_label=coarse).rename_column("label", "fine_label")
    fine.to_parquet(tmp_path / "train.parquet")
    assert load(tmp_path).classes == ("cat", "dog", "eel")
    assert load(tmp_path, label_column="coarse_label").classes == ("pet", "fish")


def test_ambiguous_labels_list_the_columns_and_the_flag(tmp_path, table):
    second = (datasets.Value("int64"), [1])
    plain = table([1], [2], datasets.Value("int64"), target=second)
    plain.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=r"several columns \(label, target\).*--label-column") as e:
        load(tmp_path)
    assert "the columns are image (struct), label (int64), target (int64)" in str(e.value)


def test_two_class_labels_without_a_usual_name_are_ambiguous(tmp_path, table):
    second = (datasets.ClassLabel(names=["pet", "fish"]), [1])
    table([1], [2], order=second).rename_column("label", "species").to_parquet(
        tmp_path / "train.parquet"
    )
    with pytest.raises(DdkitError, match=r"several columns \(species, order\).*--label-column"):
        load(tmp_path)


def test_ambiguous_images_list_the_columns_and_the_flag(tmp_path, table, png):
    mask = (datasets.Image(), [{"bytes": png(9), "path": None}])
    table([1], [2], mask=mask).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=r"several columns \(image, mask\).*--image-column"):
        load(tmp_path)
    assert values(load(tmp_path, image_column="mask")) == [9]


def test_a_table_without_labels_says_so(tmp_path, table):
    table([1], [2]).remove_columns("label").to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=r"no column of the train split .* could be the label"):
        load(tmp_path)


def test_a_misspelt_column_names_the_nearest(parquet):
    with pytest.raises(DdkitError, match=r"unknown column .* 'labl': did you mean 'label'"):
        load(parquet, label_column="labl")


def test_a_column_of_the_wrong_kind_is_refused(parquet):
    with pytest.raises(DdkitError, match=r"column 'label' .* holds no images"):
        load(parquet, image_column="label")
    with pytest.raises(DdkitError, match=r"column 'image' .* holds neither integers nor strings"):
        load(parquet, label_column="image")


def test_parquet_written_without_datasets_is_read(tmp_path, png):
    structs = [{"bytes": png(1), "path": "a.png"}, {"bytes": png(2), "path": None}]
    plain = pa.table({"picture": structs, "raw": [png(3), png(4)], "class": ["x", "y"]})
    pq.write_table(plain, tmp_path / "train.parquet")
    assert values(load(tmp_path)) == [1, 2]
    assert values(load(tmp_path, image_column="raw")) == [3, 4]


def test_a_row_without_an_image_is_named(tmp_path, png):
    images = [{"bytes": png(1), "path": None}, {"bytes": None, "path": None}]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=r"^row 1 of the train split of .* holds no image$"):
        load(tmp_path)


def test_a_missing_file_of_several_is_noticed(parquet):
    (parquet / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DdkitError, match=r"1 parquet file\(s\) where .* is one of 2"):
        load(parquet)


def test_a_damaged_file_is_named_in_one_line(parquet):
    (parquet / "train-00001-of-00002.parquet").write_bytes(b"PAR1 nothing")
    message = r"train-00001-of-00002.parquet is not a readable parquet file"
    with pytest.raises(DdkitError, match=message) as caught:
        load(parquet)
    assert "\n" not in str(caught.value)


def test_a_missing_split_lists_those_there_are(parquet):
    (parquet / "validation-00000-of-00001.parquet").unlink()
    message = "has no test split: it has train, and test or testing or .* is needed; --test-share"
    with pytest.raises(DdkitError, match=message):
        load(parquet, "test")


def test_an_empty_table_is_refused(tmp_path, table):
    table([], []).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=r"the train split of .* holds no images"):
        load(tmp_path)


def test_a_broken_image_is_named_by_its_row_without_an_address(tmp_path, png):
    images = [{"bytes": png(1), "path": None}, {"bytes": b"broken", "path": None}]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=r"^row 1 of the train split of .* is not a rea") as caught:
        load(tmp_path)
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize("tier", ["memory", "mapped", "encoded"])
def test_an_image_file_that_is_gone_is_named_by_its_row(tmp_path, png, monkeypatch, tier):
    monkeypatch.setenv("DDKIT_TIER", tier)
    images = [{"bytes": png(1), "path": None}, {"bytes": None, "path": "/nowhere/a.png"}]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(
        DdkitError, match=r"^row 1 of .* readable image \(FileNotFoundError: .*a.pn"
    ):
        load(tmp_path)


def test_a_damaged_saved_set_is_named_in_one_line(tmp_path, splits):
    splits.save_to_disk(tmp_path / "saved")
    (path,) = (tmp_path / "saved" / "train").glob("*.arrow")
    content = path.read_bytes()
    for damage in (content[:100], content[:400] + bytes(900) + content[1300:]):
        path.write_bytes(damage)
        with pytest.raises(DdkitError, match=r"saved") as caught:
            load(tmp_path / "saved")
        assert "\n" not in str(caught.value)

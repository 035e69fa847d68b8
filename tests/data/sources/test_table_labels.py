"""What a label cell may hold: one class, none, or what is refused in words."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ddkit.data.options import DataOptions
from ddkit.data.sources.load import load
from ddkit.runtime.errors import DdkitError

NAMED = datasets.ClassLabel(names=["cat", "dog", "eel"])
MANY = datasets.Sequence(NAMED)


@pytest.fixture
def read(tmp_path, table):
    """Write a training table of these labels (pixel value = row), and load it."""

    def read(labels, label=None, column="label", **options):
        rows = table(list(range(len(labels))), labels, label)
        if column != "label":
            rows = rows.rename_column("label", column)
        rows.to_parquet(tmp_path / "train.parquet")
        return load(DataOptions(name=str(tmp_path), **options), "train")

    return read


def rows_of(split):
    return split.images[:, 0, 0, 0].tolist()


UNLABELLED = [
    ([0, -1, 1, 2, -1], NAMED),
    ([0, None, 1, 2, None], NAMED),
    ([0, -1, 1, 2, None], datasets.Value("int64")),
    ([0.0, float("nan"), 1.0, 2.0, None], datasets.Value("float64")),
    (["cat", "", "dog", "eel", None], datasets.Value("string")),
    ([[0], [], [1], [2], [-1]], MANY),
]


@pytest.mark.parametrize(("labels", "kind"), UNLABELLED)
def test_rows_without_a_label_are_refused_with_their_number(read, labels, kind):
    message = r"^2 of 5 rows of the train split of .* have no label .*first is row 1\).*--classes$"
    with pytest.raises(DdkitError, match=message):
        read(labels, kind)


@pytest.mark.parametrize(("labels", "kind"), UNLABELLED)
def test_chosen_classes_leave_out_rows_without_a_label(read, labels, kind):
    split = read(labels, kind, classes="2,0")
    assert (rows_of(split), split.labels.tolist()) == ([0, 3], [1, 0])
    assert split.classes in {("eel", "cat"), ("2", "0")}
    assert len(read(labels, kind, classes=3)) == 3


def test_whole_floats_are_integers(read):
    split = read([7.0, 3.0, 7.0], datasets.Value("float32"))
    assert (split.classes, split.labels.tolist()) == (("3", "7"), [1, 0, 1])


def test_fractions_are_no_classes(read):
    with pytest.raises(DdkitError, match=r"^row 1 of the train split of .* has the label 0.5, whi"):
        read([0.0, 0.5], datasets.Value("float64"))


def test_integers_go_before_floats_of_a_usual_name(table, tmp_path):
    weights = (datasets.Value("float32"), [0.3, 0.7])
    plain = table([1, 2], [1, 0], datasets.Value("int64"), target=weights)
    plain.to_parquet(tmp_path / "train.parquet")
    assert load(DataOptions(name=str(tmp_path)), "train").labels.tolist() == [1, 0]


@pytest.mark.parametrize("column", ["label", "species"])
@pytest.mark.parametrize("kind", [MANY, [NAMED]])
def test_lists_of_one_class_label_are_that_label(read, kind, column):
    split = read([[2], [0], [1]], kind, column)
    assert (split.classes, split.labels.tolist()) == (("cat", "dog", "eel"), [2, 0, 1])


def test_lists_of_one_integer_or_name_are_that_label(read):
    assert read([[5], [3]], datasets.Sequence(datasets.Value("int32"))).labels.tolist() == [1, 0]
    names = read([["b"], ["a"]], datasets.Sequence(datasets.Value("string")), "labels")
    assert (names.classes, names.labels.tolist()) == (("a", "b"), [1, 0])


@pytest.mark.parametrize("classes", [None, "cat"])
def test_several_labels_of_an_image_are_refused_in_words(read, classes):
    with pytest.raises(
        DdkitError,
        match=r"^row 1 of the train split of .* has 2 labels in the column 'label', and ddkit needs"
        r" one class for each image: keep .* --label-column$",
    ):
        read([[0], [0, 2]], MANY, classes=classes)


def test_a_column_of_single_labels_goes_before_lists(table, tmp_path):
    several = (MANY, [[0, 1], [1, 2], []])
    table([1, 2, 3], [1, 0, 2], tags=several).to_parquet(tmp_path / "train.parquet")
    assert load(DataOptions(name=str(tmp_path)), "train").labels.tolist() == [1, 0, 2]


def test_several_labels_in_an_array_are_refused_too(tmp_path, png):
    cells = [{"bytes": png(1), "path": None}]
    kind = pa.list_(pa.int64(), 3)
    hot = pa.array([[0, 1, 0]], kind)
    pq.write_table(pa.table({"image": cells, "labels": hot}), tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=r"row 0 of .* has 3 labels in the column 'labels'"):
        load(DataOptions(name=str(tmp_path)), "train")

"""Images that are columns of arrays: `datasets`' Array2D and Array3D, and lists within lists."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ddkit.data.options import DataOptions
from ddkit.data.pixels import tiers
from ddkit.data.pixels.base import Mapped
from ddkit.data.sources import parquet
from ddkit.data.sources.load import load
from ddkit.runtime.errors import DdkitError

LABEL = datasets.ClassLabel(names=["cat", "dog"])
GREY = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
NUMBER = datasets.Value("uint8")


def nested(rank, value=NUMBER):
    return value if rank == 0 else datasets.Sequence(nested(rank - 1, value))


CASES = {
    "Array2D": (GREY, datasets.Array2D((6, 5), "uint8")),
    "Array3D": (COLOUR, datasets.Array3D((6, 5, 3), "uint8")),
    "Array3D, channels first": (COLOUR.transpose(0, 3, 1, 2), datasets.Array3D((3, 6, 5), "uint8")),
    "Array3D, one channel": (GREY[:, None], datasets.Array3D((1, 6, 5), "uint8")),
    "Array3D of int64": (COLOUR, datasets.Array3D((6, 5, 3), "int64")),
    "lists": (GREY, nested(2)),
    "lists of three": (COLOUR, nested(3)),
    "lists of int32": (GREY, nested(2, datasets.Value("int32"))),
}


@pytest.fixture
def write(tmp_path):
    def write(images, feature, stored="parquet", **more):
        features = datasets.Features({"picture": feature, "label": LABEL})
        columns = {"picture": list(images), "label": [0, 1] * (len(images) // 2)}
        made = datasets.Dataset.from_dict(columns, features=features)
        if stored == "parquet":
            made.to_parquet(tmp_path / "train.parquet", **more)
        else:
            datasets.DatasetDict(train=made).save_to_disk(tmp_path)
        return DataOptions(name=str(tmp_path))

    return write


def expected(images):
    channels_last = torch.from_numpy(GREY[..., None] if images.size == GREY.size else COLOUR)
    return channels_last.permute(0, 3, 1, 2)


@pytest.mark.parametrize("stored", ["parquet", "saved"])
@pytest.mark.parametrize("case", CASES)
def test_arrays_are_images(write, case, stored):
    images, feature = CASES[case]
    split = load(write(images, feature, stored), "train")
    assert torch.equal(split.images, expected(images))
    assert (split.labels.tolist(), split.classes) == ([0, 1, 0, 1], ("cat", "dog"))


def test_rows_are_found_across_batches_and_row_groups(write, monkeypatch):
    monkeypatch.setattr(parquet, "BATCH", 16)  # of arrays, two at once
    options = write(COLOUR, CASES["Array3D"][1], batch_size=3)
    chosen = load(options.model_copy(update={"classes": ("dog", "cat")}), "train")
    assert torch.equal(chosen.images, expected(COLOUR))
    assert chosen.labels.tolist() == [1, 0, 1, 0]


def test_arrays_are_decoded_alike_one_by_one_and_at_once(write, monkeypatch):
    options = write(COLOUR, CASES["Array3D"][1])
    plain = load(options, "train")
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    monkeypatch.setattr(parquet, "BATCH", 16)
    monkeypatch.setattr(tiers, "CHUNK_BYTES", 3 * 90)  # three images, and one
    mapped = load(options, "train")
    assert isinstance(mapped.images, Mapped)
    assert torch.equal(mapped.take(torch.arange(4)), plain.images)
    assert mapped.fingerprint == plain.fingerprint
    dogs = options.model_copy(update={"classes": ("dog", "cat"), "resize": 3})
    scaled = load(dogs, "train").take(torch.arange(4))
    monkeypatch.setenv("DDKIT_TIER", "memory")
    assert torch.equal(scaled, load(dogs, "train").images)


def test_tables_without_features_are_read(tmp_path):
    kind = pa.list_(pa.list_(pa.uint8(), 5), 6)
    cells = pa.FixedSizeListArray.from_arrays(
        pa.FixedSizeListArray.from_arrays(pa.array(GREY.reshape(-1)), 5), 6
    )
    assert cells.type == kind
    pq.write_table(pa.table({"x": cells, "label": [1, 2, 1, 2]}), tmp_path / "train.parquet")
    assert torch.equal(load(DataOptions(name=str(tmp_path)), "train").images, expected(GREY))


def test_images_in_files_go_before_arrays(tmp_path, table):
    masks = (CASES["Array2D"][1], [GREY[0], GREY[1]])
    table([7, 8], [0, 1], datasets.ClassLabel(names=["cat", "dog"]), mask=masks).to_parquet(
        tmp_path / "train.parquet"
    )
    split = load(DataOptions(name=str(tmp_path)), "train")
    assert split.images[:, 0, 0, 0].tolist() == [7, 8]
    masks = load(DataOptions(name=str(tmp_path), image_column="mask"), "train")
    assert torch.equal(masks.images, expected(GREY)[:2])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[[1, 2], [3]]], r"^row 0 of .* has an image whose rows differ in length$"),
        ([[[1, 2], [3, 4]], [[1, -2]]], r"^row 1 of .* has pixels from -2 to 1: they should be 0 "),
        ([[[1, 2], [3, None]]], r"^row 0 of .* has pixels from nan to nan: they should be 0 "),
        ([[[1, 2]], None], r"^row 1 of .* holds no image$"),
        ([[[1, 2]], []], r"^row 1 of .* holds no image$"),
        ([[[0.5, 0.1]]], r"^column 'x' of .* holds images of double, whose range is not known: st"),
        ([[[1, 2]], [[1, 2], [3, 4]]], r"^images differ in size: 2x1 at first, 2x2 in row 1 of "),
        ([[[[1] * 5] * 2] * 2], r"^row 0 of .* has an image of shape \(2, 2, 5\): it should be "),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(tmp_path, rows, message):
    columns = {"x": rows, "label": ["a", "b"][: len(rows)]}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(DdkitError, match=message):
        load(DataOptions(name=str(tmp_path)), "train")

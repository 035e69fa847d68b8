"""Contact sheets of the page: what was written, small enough, and no file spoils the others."""

import base64
import io
import shutil

import numpy
import pytest
from PIL import Image

from ddkit.bench.page import images

FOUND_BY = {"method": ["teddy"]}


def opened(uri: str) -> Image.Image:
    kind, _, text = uri.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.fixture
def folder(filler):
    """Return the folder of a run with two images of each of three classes."""
    return filler.images(filler.run("teddy", 2, 0)).parent


def test_a_sheet_has_the_images_of_the_artifact_beside_their_beginnings(folder):
    from ddkit.distilled.dataset import load
    from ddkit.runtime.tensors import TensorFile

    sheet = images.sheet(folder, "teddy", "seed 0", FOUND_BY, 10**7)
    assert [name for name, _ in sheet.classes] == ["cat", "dog", "</script><b>owl"]
    assert [len(pairs) for _, pairs in sheet.classes] == [2, 2, 2]
    pair = sheet.classes[1][1][0]
    stored = load(folder / "distilled.safetensors").file["images"][2, 0].numpy()
    assert (numpy.asarray(opened(pair.final)) == stored).all()
    initial = TensorFile(folder / "shards" / "shard-00000.safetensors")["initial"][2, 0]
    assert (numpy.asarray(opened(pair.initial)) == initial.mul(255).round().numpy()).all()
    assert sheet.size == (56, 56)
    assert sheet.note == "Each pair: where the image started, and what it became."


def test_without_shards_the_final_images_are_left(folder):
    shutil.rmtree(folder / "shards")
    sheet = images.sheet(folder, "teddy", "seed 0", FOUND_BY, 10**7)
    assert sheet.classes[0][1][0].initial is None
    assert "no longer known" in sheet.note
    assert not sheet.error


def test_a_damaged_shard_costs_the_beginnings_only(folder):
    (folder / "shards" / "shard-00000.safetensors").write_bytes(b"broken")
    assert not images.sheet(folder, "teddy", "seed 0", FOUND_BY, 10**7).error


def test_large_images_and_many_are_fewer_and_smaller(filler, monkeypatch):
    run = filler.run("teddy", 12, 0)
    names = [f"class {n}" for n in range(25)]
    folder = filler.images(run, size=120, each=12, names=names).parent
    sheet = images.sheet(folder, "teddy", "seed 0", FOUND_BY, 10**8)
    assert [len(pairs) for _, pairs in sheet.classes] == [10] * 20
    assert opened(sheet.classes[0][1][0].final).size == (96, 96)
    assert "10 of 12 images per class are shown. 20 of 25 classes are shown." in sheet.note
    little = images.sheet(folder, "teddy", "seed 0", FOUND_BY, 2 * 96 * 96 * 20 * 3)
    assert [len(pairs) for _, pairs in little.classes] == [3] * 20


@pytest.mark.parametrize("damage", ["gone", "truncated", "no set"])
def test_an_artifact_that_cannot_be_read_is_one_line(folder, damage):
    path = folder / "distilled.safetensors"
    if damage == "gone":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    else:
        shutil.copy(folder / "shards" / "shard-00000.safetensors", path)
    sheet = images.sheet(folder, "teddy", "seed 0", FOUND_BY, 10**7)
    assert sheet.error
    assert "\n" not in sheet.error
    assert sheet.classes == ()


def test_the_page_names_what_is_gone_and_shows_the_rest(filled, page):
    stored = filled.store.result("set", "apm-digits-1-0")
    (filled.folder / stored["folder"] / "distilled.safetensors").unlink()
    html = page(filled)
    assert html.count("No images: no such file") == 2  # apm at ipc 10 never had any
    assert html.count('<details class="sheet"') == 2
    assert "&lt;/script&gt;&lt;b&gt;owl" in html


def test_images_that_were_chosen_are_shown_once(filler):
    from ddkit.runtime.tensors import TensorFile, write_tensors

    path = filler.images(filler.run("herding", 2, 0))
    shard = path.parent / "shards" / "shard-00000.safetensors"
    final = TensorFile(path)["images"].float() / 255
    write_tensors(shard, {"slots": TensorFile(shard)["slots"].clone(), "initial": final})
    sheet = images.sheet(path.parent, "herding", "seed 0", FOUND_BY, 10**7)
    assert sheet.note == "Real images, as they were chosen."
    assert sheet.classes[0][1][0].initial is None

"""Caches are written once, go on after any interruption, and follow their source."""

import errno
import os
import subprocess
import sys
from io import BytesIO

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from ddkit.data.options import DataOptions
from ddkit.data.pixels import cache as caches
from ddkit.data.pixels import tiers
from ddkit.data.pixels.cache import Cache
from ddkit.data.pixels.decoding import content_of
from ddkit.data.sources import parquet as rows
from ddkit.data.sources.folders import read
from ddkit.data.sources.load import load
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent


def numbers(first, about):
    """Ten rows of four bytes, two at a time."""
    for start in range(first, 10, 2):
        yield 2, {"pixels.bin": bytes([start] * 4 + [start + 1] * 4)}


WHOLE = b"".join(bytes([n] * 4) for n in range(10))


def ready(cache, chunks=numbers):
    return cache.ready(10, {"shape": [4]}, chunks, Silent(), "numbers")


def interrupted(chunks, after):
    """Break off when so many chunks were written."""

    def some(first, about):
        for number, chunk in enumerate(chunks(first, about)):
            if number == after:
                raise KeyboardInterrupt
            yield chunk

    return some


def test_files_hold_all_rows_and_what_is_about_them(own_cache):
    cache = Cache.at("here", "1")
    assert ready(cache) == {"shape": [4]}
    assert (cache.folder / "pixels.bin").read_bytes() == WHOLE
    assert cache.map("pixels.bin", np.uint8).view(10, 4)[:, 0].tolist() == list(range(10))
    assert {path.name for path in cache.folder.iterdir()} == {".lock", "header.json", "pixels.bin"}


def test_a_finished_cache_is_not_written_again():
    ready(Cache.at("here", "1"))
    assert ready(Cache.at("here", "1"), None) == {"shape": [4]}


def test_an_interrupted_one_goes_on_and_ends_in_the_same_bytes():
    cache, asked = Cache.at("here", "1"), []
    with pytest.raises(KeyboardInterrupt):
        ready(cache, interrupted(numbers, 3))
    with (cache.folder / "pixels.bin").open("ab") as file:
        file.write(b"half a chunk" * 9)

    def watched(first, about):
        asked.append(first)
        return numbers(first, about)

    ready(cache, watched)
    assert asked == [6]
    assert (cache.folder / "pixels.bin").read_bytes() == WHOLE


@pytest.mark.parametrize("done", [3, 5])
def test_another_source_in_the_same_place_is_made_anew(done):
    old = Cache.at("here", "1")
    if done == 5:
        ready(old)
        kept = old.map("pixels.bin", np.uint8)
    else:
        with pytest.raises(KeyboardInterrupt):
            ready(old, interrupted(numbers, done))

    def others(first, about):
        for count, parts in numbers(first, about):
            yield count, {"pixels.bin": bytes(100 + byte for byte in parts["pixels.bin"])}

    new = Cache.at("here", "2")
    assert new.folder == old.folder
    ready(new, others)
    assert (new.folder / "pixels.bin").read_bytes() == bytes(100 + byte for byte in WHOLE)
    if done == 5:
        assert kept.tolist() == list(WHOLE)


def test_a_file_that_was_cut_is_made_anew():
    cache = Cache.at("here", "1")
    ready(cache)
    os.truncate(cache.folder / "pixels.bin", 7)
    ready(cache)
    assert (cache.folder / "pixels.bin").read_bytes() == WHOLE


def test_too_few_rows_are_noticed():
    with pytest.raises(DdkitError, match="numbers: 4 of 10 images came"):
        ready(Cache.at("here", "1"), lambda first, about: list(numbers(first, about))[:2])


def test_what_is_remembered_is_computed_once_per_source():
    values = iter([1, 2])
    compute = lambda: next(values)  # noqa: E731
    assert [Cache.at("here", stamp).remember("x", compute) for stamp in "aab"] == [1, 1, 2]


def test_a_full_disk_is_one_clear_line_and_what_is_written_is_kept(monkeypatch):
    cache, count = Cache.at("here", "1"), iter(range(2))

    def sync(handle, real=os.fsync):
        if next(count, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(caches.os, "fsync", sync)
    with pytest.raises(DdkitError, match=r"the disk is full: cannot write .*; free some space"):
        ready(cache)
    monkeypatch.undo()
    assert caches.read_json(cache.folder / "progress.json")["rows"] == 2


def png(value, mode):
    stream = BytesIO()
    Image.new(mode, (4, 4), value).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def grey_first(tmp_path, monkeypatch):
    """Six grey images and two coloured ones, in chunks of two."""
    monkeypatch.setattr(tiers, "CHUNK_BYTES", 32)
    folder = tmp_path / "data/train/a"
    folder.mkdir(parents=True)
    for number in range(8):
        value = number * 9 if number < 6 else (1, 2, number)
        (folder / f"{number}.png").write_bytes(png(value, "L" if number < 6 else "RGB"))
    return tmp_path / "data"


def test_the_first_coloured_image_makes_all_of_them_coloured(grey_first, in_tier):
    memory, mapped = in_tier("memory", grey_first), in_tier("mapped", grey_first)
    assert mapped.shape == (3, 4, 4)
    assert torch.equal(mapped.take(torch.arange(8)), memory.images)


@pytest.mark.parametrize("tier", ["mapped", "encoded"])
@pytest.mark.parametrize("odd", [[5], [4, 5]])
def test_images_that_differ_in_size_are_named_in_whatever_chunk(grey_first, in_tier, odd, tier):
    for number in odd:
        Image.new("L", (7, 5)).save(grey_first / f"train/a/{number}.png")
    with pytest.raises(DdkitError, match=rf"4x4 at first, 7x5 in .*{odd[0]}\.png; .*--resize"):
        in_tier(tier, grey_first).take(torch.arange(8))


def test_a_changed_file_is_seen(photographs, in_tier, make_picture):
    if not (photographs / "train").exists():
        pytest.skip("one file holds all")
    before = in_tier("mapped", photographs, resize=16)
    path = photographs / "train/b/06.jpg"
    make_picture(99).save(path)
    after = in_tier("mapped", photographs, resize=16)
    changed = before.take(torch.arange(12)) != after.take(torch.arange(12))
    assert changed.flatten(1).any(1).nonzero().flatten().tolist() == [6]
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize("tier", ["mapped", "encoded"])
def test_content_of_the_same_length_is_seen_by_its_time(tmp_path, in_tier, tier):
    (tmp_path / "data/train/a").mkdir(parents=True)
    fingerprints = set()
    for value in (7, 8):
        Image.new("L", (4, 4), value).save(tmp_path / "data/train/a/1.bmp")
        split = in_tier(tier, tmp_path / "data")
        assert split.take(torch.tensor([0])).unique().tolist() == [value]
        fingerprints.add(split.fingerprint)
    assert len(fingerprints) == 2


def test_classes_and_sizes_have_files_of_their_own(photographs, in_tier, own_cache):
    for options in ({"resize": 16}, {"resize": 8}, {"resize": 16, "classes": "c,a"}):
        memory = in_tier("memory", photographs, **options)
        for _ in range(2):
            mapped = in_tier("mapped", photographs, **options)
            assert torch.equal(mapped.take(torch.arange(len(mapped))), memory.images)
            assert mapped.fingerprint == memory.fingerprint
    assert len(list(own_cache.glob("data/*/pixels.bin"))) == 3


@pytest.fixture(params=["folders", "parquet", "saved"])
def listing(request, photographs, tmp_path):
    """The same twelve images in every layout."""
    if request.param == "saved":
        if (photographs / "train").exists():
            pytest.skip("is saved from the parquet files")
        name = str(photographs)
        saved = datasets.load_dataset("parquet", data_dir=name, cache_dir=str(tmp_path / "hf"))
        saved.save_to_disk(str(tmp_path / "saved"))
        photographs = tmp_path / "saved"
    elif (request.param == "folders") != (photographs / "train").exists():
        pytest.skip("is the other layout")
    return read(DataOptions(name=str(photographs), classes=("c", "a")), "train")


def test_files_are_found_from_any_one_on(listing, monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 2)
    images = listing.images
    whole = [content_of(file) for file in images.files()]
    assert len(set(whole)) == len(images) == 8
    for first in range(8):
        assert [content_of(file) for file in images.files(first)] == whole[first:]
    read_one = images.reader(Silent())
    assert [content_of(read_one(number)) for number in (7, 0, 3)] == [whole[n] for n in (7, 0, 3)]


BUILD = """
import sys
from ddkit.data.options import DataOptions
from ddkit.data.sources.load import load
from ddkit.runtime.progress import Silent
class Loud(Silent):
    def task(self, name, total, done=0):
        print("built")
        return super().task(name, total, done)
split = load(DataOptions(name=sys.argv[1], resize=16), "train", progress=Loud())
print(split.fingerprint)
"""


@pytest.mark.parametrize("photographs", ["folders"], indirect=True)
def test_several_processes_write_once_and_read_one_copy(photographs, own_cache, monkeypatch):
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    command = [sys.executable, "-c", BUILD, str(photographs)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line for each in both for line in each.communicate()[0].split()]
    split = load(DataOptions(name=str(photographs), resize=16), "train")
    assert sorted(lines) == sorted(["built", split.fingerprint, split.fingerprint])

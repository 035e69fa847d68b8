"""A subset keeps pixels, labels and views of its images; what needs the others is refused."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from ddkit_cli.commands.subset import numbered

from ddkit.data.augmentation.views import draw_views
from ddkit.data.space import InputSpace
from ddkit.distilled.dataset import load
from ddkit.distilled.subset import Wanted, subset
from ddkit.labels import DrawnViews, Ensemble, EpochLabels, RecipeLabels, SoftLabels, joined
from ddkit.labels.coded import encoded
from ddkit.pipeline import evaluate as comparison
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent
from ddkit.synthesis.images import Synthetic

CLASSES = torch.tensor([0, 1, 2] * 4)  # four of each, one in turn
FIRST_TWO = torch.arange(6)  # the first two of each class


def images(**learned) -> Synthetic:
    pixels = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return Synthetic(pixels, CLASSES, **learned)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def drawn(mix: str) -> DrawnViews:
    return DrawnViews(5, 12, (8, 8), (0.3, 1.0), True, mix)


def written(mix: str) -> EpochLabels:
    generator = torch.Generator().manual_seed(3)
    views = joined([draw_views(12, (8, 8), generator, mix=mix) for _ in range(3)])
    return EpochLabels(randn(3, 12, 3), views, 4.0)


@pytest.fixture
def whole(artifact, data):
    """Write a set of four images of each class; keywords are those of `artifact`."""

    def make(labels=None, **said) -> Path:
        said = {"ipc": 4, "images": images(), "train": data["train"], **said}
        return artifact("whole.safetensors", labels=labels, **said)

    return make


@pytest.fixture
def cut(tmp_path):
    """Cut a set, and return it and what it was cut from."""

    def cut(path, name="cut.safetensors", overwrite=False, **wanted):
        out = subset(path, tmp_path / name, Wanted(**wanted), overwrite=overwrite)
        return load(out), load(path)

    return cut


def refusal(path, out, **wanted) -> str:
    with pytest.raises(DdkitError) as caught:
        subset(path, out, Wanted(**wanted))
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{out.parent}/", "")


@pytest.mark.parametrize("part_bytes", [2**30, 3 * 64], ids=["one file", "many"])
def test_the_first_images_of_each_class_are_kept_as_stored(whole, cut, part_bytes):
    found, before = cut(whole(part_bytes=part_bytes), ipc=2)
    assert found.classes.tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(found.pixels(torch.arange(6)), before.pixels(FIRST_TWO))
    assert found.file["images"].dtype == torch.uint8
    assert found.config["ipc"] == 2
    assert found.metadata["cut_from"] == {"images": 12}
    assert found.metadata["data_fingerprint"] == before.metadata["data_fingerprint"]
    assert found.space.fingerprint() == before.space.fingerprint()


def test_named_images_are_kept_in_their_order(whole, cut):
    labels = SoftLabels(randn(12, 3), 20.0)
    found, before = cut(
        whole(labels, images=images(learning_rate=0.1, label_logits=randn(12, 3) + 1)),
        indices=[10, 0, 3],
    )
    rows = torch.tensor([0, 3, 10])
    assert found.classes.tolist() == [0, 0, 1]
    assert torch.equal(found.labels.logits, before.labels.logits[rows])
    assert torch.equal(found.label_logits, before.label_logits[rows])
    assert (found.labels.temperature, found.learning_rate) == (20.0, 0.1)
    assert found.config["ipc"] == 2


@pytest.mark.parametrize("form", ["fp16", "int8", "top-k:1"])
@pytest.mark.parametrize("source", ["stored", "drawn"])
def test_labels_of_epochs_keep_the_views_that_they_are_of(whole, cut, form, source):
    labels = written("none") if source == "stored" else EpochLabels(randn(3, 12, 3), drawn("none"))
    labels = EpochLabels(encoded(labels.logits, form, 4.0), labels.views, 4.0)
    found, before = cut(whole(labels), ipc=2)
    assert (found.labels.form, found.labels.epochs) == (form, 3)
    assert found.labels.views_are_stored
    for epoch in range(4):  # the last starts over
        ours = found.inputs(torch.arange(6), epoch)
        theirs = before.inputs(FIRST_TWO, epoch)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_partners_that_are_kept_are_found_again(whole, cut):
    labels = written("cutmix")
    labels.views.partner.copy_(torch.arange(12).view(4, 3).flip(0).flatten().repeat(3))
    # image 0 is mixed with 9, 1 with 10, 2 with 11, 3 with 6, …
    found, before = cut(whole(labels), indices=[0, 9, 3, 6])
    assert found.labels.views.partner.view(3, 4).tolist() == [[3, 2, 1, 0]] * 3
    for epoch in range(3):
        ours = found.inputs(torch.arange(4), epoch)
        theirs = before.inputs(torch.tensor([0, 3, 6, 9]), epoch)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("mix", ["cutmix", "mixup"])
def test_labels_of_images_that_are_mixed_with_others_are_not_cut(whole, cut, tmp_path, mix):
    path = whole(EpochLabels(randn(2, 12, 3), drawn(mix)))
    assert refusal(path, tmp_path / "c.st", ipc=2) == (
        f"the labels of whole.safetensors are of images that {mix} mixes with others, which would "
        "be left out: drop them with --labels hard, and then label the images with `ddkit relabel "
        "c.st -o c-labelled.st`"
    )
    found, _ = cut(path, ipc=2, hard=True)
    assert found.labels.kind == "hard"


def test_a_recipe_is_not_cut(whole, tmp_path):
    space = InputSpace(torch.zeros(1), torch.ones(1))
    path = whole(RecipeLabels(Ensemble("pool", "hash", (0,), "logits"), drawn("none"), 3, space))
    assert "are a recipe, drawn for all of its images: drop them" in refusal(
        path, tmp_path / "c.st", ipc=2
    )


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, "say what to keep: --ipc N, --classes A,B or --indices"),
        ({"ipc": 5}, "--ipc 5: whole.safetensors has 4 images of class 'a'"),
        ({"indices": [0, 12]}, "only once, from 0 to 11"),
        ({"indices": [1, 1]}, "only once"),
        ({"indices": []}, "only once"),
        ({"indices": [1], "ipc": 1}, "leave out --ipc and --classes"),
        ({"classes": ["a"]}, "name two or more"),
        ({"classes": ["a", "x"]}, "unknown class 'x'"),
    ],
)
def test_what_is_not_there_is_refused(whole, tmp_path, wanted, words):
    assert words in refusal(whole(), tmp_path / "c.st", **wanted)


def test_other_labels_than_hard_ones_are_not_cut_by_class(whole, tmp_path):
    path = whole(SoftLabels(randn(12, 3)))
    assert "over all of its classes, and would differ" in refusal(
        path, tmp_path / "c.st", classes=["a", "c"]
    )
    path = whole(images=images(label_logits=randn(12, 3)))
    assert "learned labels over all" in refusal(path, tmp_path / "c.st", classes=["a", "c"])


def test_nothing_is_replaced_unasked_and_never_the_set_itself(whole, cut, tmp_path):
    path = whole()
    for overwrite in (False, True):
        with pytest.raises(DdkitError, match="would replace the set itself"):
            cut(path, path.name, overwrite, ipc=1)
    cut(path, ipc=2)
    with pytest.raises(DdkitError, match="already exists"):
        cut(path, ipc=1)
    assert len(cut(path, overwrite=True, ipc=1)[0]) == 3


def test_indices_are_numbers_and_ranges():
    assert numbered("0, 5,10-12") == [0, 5, 10, 11, 12]
    for text in ("", "a", "1-", "-1", "1,,2"):
        with pytest.raises(DdkitError, match="numbers and ranges"):
            numbered(text)
    assert len(numbered(f"0-{10**30}")) == 10**7 + 1


@pytest.fixture
def distil(tmp_path, monkeypatch):
    """Return a function that gives commands in a folder."""
    from ddkit_cli.main import ddkit as command_line

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(command_line, [*arguments])
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return run


def test_classes_of_a_set_are_a_set_of_these_data(distil, tmp_path):
    small = ("--network", "convnet:width=4:depth=1", "--threads", "1", "-q")
    distil("distill", "-m", "random", "--data", "digits", "--ipc", "2", "-o", "run", *small)
    distil("distill", "-m", "random", "--data", "digits", "--classes", "1,7", "-o", "two", *small)
    said = distil("subset", "run", "--classes", "1,7", "--ipc", "1", "-o", "cut.safetensors")
    assert said.splitlines()[0] == (
        "cut.safetensors: 2 images of 2 classes, 128 B; labels hard, 0 B"
    )
    assert "a set of 20 images" in distil("inspect", "cut.safetensors")
    found, direct, run = (load(tmp_path / name) for name in ("cut.safetensors", "two", "run"))
    assert found.class_names == ["1", "7"]
    assert torch.equal(found.pixels(torch.arange(2)), run.pixels(torch.tensor([2, 14])))
    assert found.metadata["data_fingerprint"] == direct.metadata["data_fingerprint"]
    config = comparison.config_of(found, None, None)
    run, test = comparison.opened(found, config, tmp_path, Silent())
    assert test.split.classes == run.classes == ("1", "7")

"""Merging: each image keeps its pixels, its views and its labels; what does not fit is refused."""

import re
import shutil
from dataclasses import replace

import pytest
import torch

from ddkit.config import RunConfig
from ddkit.data.augmentation.views import Views, draw_views
from ddkit.data.space import InputSpace
from ddkit.distilled.dataset import load
from ddkit.distilled.merging import merge
from ddkit.labels import DrawnViews, Ensemble, EpochLabels, RecipeLabels, SoftLabels, joined
from ddkit.labels.coded import encoded
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile, write_tensors
from ddkit.synthesis.images import Synthetic

CLASSES = 3
# where the images of a set of ipc 1 and of one of ipc 2 go, class by class
FIRST, SECOND = torch.tensor([0, 3, 6]), torch.tensor([1, 2, 4, 5, 7, 8])


def noise(ipc: int, seed: int, **learned) -> Synthetic:
    count = ipc * CLASSES
    pixels = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Synthetic(pixels, torch.arange(CLASSES).repeat_interleave(ipc), **learned)


def greys(ipc: int, start: int) -> Synthetic:
    """Return images of one grey each: start, start + 1, …"""
    count = ipc * CLASSES
    values = torch.arange(start, start + count, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Synthetic(values.repeat(1, 1, 8, 8), torch.arange(CLASSES).repeat_interleave(ipc))


def logits(ipc: int, start: int) -> torch.Tensor:
    """Return logits (n, classes) whose first column is start, start + 1, …"""
    return torch.arange(start, start + ipc * CLASSES).float().view(-1, 1) + torch.zeros(CLASSES)


def epoch_labels(ipc: int, seed: int = 0, epochs: int = 3, mix="cutmix", temperature=4.0):
    count = ipc * CLASSES
    generator = torch.Generator().manual_seed(seed)
    views = [draw_views(count, (8, 8), generator, mix=mix) for _ in range(epochs)]
    soft = torch.randn(epochs, count, CLASSES, generator=generator)
    return EpochLabels(soft.half(), joined(views), temperature)


@pytest.fixture
def merged_labels(artifact, tmp_path):
    """Merge a set of ipc 1 and one of ipc 2 with labels of these forms; return all three."""

    def make(form: str, strips: tuple[int, int] = (1, 1)):
        paths = []
        for ipc, cut in zip((1, 2), strips, strict=True):
            size = (8, 8), (0.3, 1.0), False, "cutmix"
            views = DrawnViews(ipc, ipc * CLASSES, *size, strips=cut)
            stored = encoded(epoch_labels(ipc, ipc).logits, form, 4.0)
            labels = EpochLabels(stored, views, 4.0)
            name = f"{ipc}.safetensors"
            paths.append(artifact(name, images=noise(ipc, ipc), labels=labels, ipc=ipc))
        return [*map(load, paths), load(merge(paths, tmp_path / "merged.safetensors"))]

    return make


@pytest.mark.parametrize(
    ("form", "strips"), [("fp16", 1), ("int8", 1), ("top-k:1", 1), ("fp16", 3)]
)
def test_labels_of_any_form_are_merged_with_views_that_are_drawn_no_more(
    merged_labels, form, strips
):
    first, second, merged = merged_labels(form, (strips, strips))
    assert merged.labels.form == form
    assert merged.labels.views_are_stored
    for part, slots in ((first, FIRST), (second, SECOND)):
        for epoch in range(3):
            ours, theirs = merged.inputs(slots, epoch), part.inputs(torch.arange(len(part)), epoch)
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_labels_of_images_in_strips_are_not_merged_with_others(merged_labels):
    with pytest.raises(DdkitError, match="how many strips they are shuffled in"):
        merged_labels("fp16", (1, 2))


def test_labels_of_two_forms_and_recipes_are_not_merged(artifact, tmp_path):
    views = DrawnViews(1, 3, (8, 8), (0.3, 1.0), False, "cutmix")
    coded = EpochLabels(encoded(epoch_labels(1).logits, "int8", 4.0), views, 4.0)
    plain = EpochLabels(epoch_labels(1, 2).logits, views, 4.0)
    space = InputSpace(torch.zeros(1), torch.ones(1))
    recipe = RecipeLabels(Ensemble("pool", "hash", (0,), "logits"), views, 3, space)
    paths = [
        artifact(f"{n}.safetensors", images=noise(1, n), labels=labels, ipc=1)
        for n, labels in enumerate((coded, plain, recipe))
    ]
    with pytest.raises(DdkitError, match="differ in the form of labels: int8 and numbers"):
        merge(paths[:2], tmp_path / "merged.safetensors")
    with pytest.raises(DdkitError, match="are a recipe, which draws them for the set as it is"):
        merge(paths[1:], tmp_path / "merged.safetensors")


@pytest.fixture
def pair(artifact):
    """Write a set of ipc 1 and one of ipc 2; keywords are pairs of what `artifact` takes."""

    def make(**differing):
        fields = {"images": (noise(1, 1), noise(2, 2)), "ipc": (1, 2), **differing}
        return [
            artifact(f"{name}.safetensors", **{key: both[at] for key, both in fields.items()})
            for at, name in enumerate("ab")
        ]

    return make


def refusal(paths, out, **how) -> str:
    """Return what a merge is refused with, without the folder; nothing must be written."""
    before = out.exists() and out.read_bytes()
    with pytest.raises(DdkitError) as caught:
        merge(paths, out, **how)
    assert (out.exists() and out.read_bytes()) == before
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(f"{out.parent}/", "")


def first_values(tensor: torch.Tensor) -> list:
    return tensor.flatten(1)[:, 0].tolist()


def test_images_are_class_major_with_the_first_file_first(pair, tmp_path):
    paths = pair(images=(greys(1, 10), greys(2, 20)))
    merged = load(merge(paths, tmp_path / "out.safetensors"))
    assert merged.classes.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert first_values(merged.file["images"]) == [10, 20, 21, 11, 22, 23, 12, 24, 25]
    assert merged.file["images"].dtype == torch.uint8
    assert merged.metadata["value_range"] == [10, 25]
    assert merged.labels.kind == "hard"
    assert merged.labels.targets(torch.arange(9), 0).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_order_of_files_is_the_order_within_a_class(pair, tmp_path):
    first, second = pair(images=(greys(1, 10), greys(2, 20)))
    merged = load(merge([second, first], tmp_path / "out.safetensors"))
    assert first_values(merged.file["images"]) == [20, 21, 10, 22, 23, 11, 24, 25, 12]


def test_a_set_that_is_not_class_major_becomes_so(pair, tmp_path):
    mixed = Synthetic(greys(1, 10).images, torch.tensor([2, 0, 1]))
    merged = load(merge(pair(images=(mixed, greys(2, 20))), tmp_path / "out.safetensors"))
    assert first_values(merged.file["images"]) == [11, 20, 21, 12, 22, 23, 10, 24, 25]


def test_soft_labels_go_with_their_images(pair, tmp_path):
    labels = SoftLabels(logits(1, 10), 20.0), SoftLabels(logits(2, 20).half(), 20.0)
    merged = load(merge(pair(labels=labels), tmp_path / "out.safetensors")).labels
    assert (merged.kind, merged.temperature) == ("soft", 20.0)
    assert first_values(merged.logits) == [10, 20, 21, 11, 22, 23, 12, 24, 25]
    assert merged.logits.dtype == torch.float32


def test_what_was_learned_goes_with_the_images(pair, tmp_path):
    learned = [
        noise(1, 1, learning_rate=0.01, label_logits=logits(1, 10)),
        noise(2, 2, learning_rate=0.04, label_logits=logits(2, 20)),
    ]
    merged = load(merge(pair(images=learned), tmp_path / "out.safetensors"))
    assert merged.learning_rate == pytest.approx(0.025)
    assert first_values(merged.label_logits) == [10, 20, 21, 11, 22, 23, 12, 24, 25]


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize("part_bytes", [2**30, 2 * 64], ids=["one file", "many"])
def test_every_view_of_every_epoch_is_the_same_as_before(pair, tmp_path, mix, part_bytes):
    labels = epoch_labels(1, seed=1, mix=mix), epoch_labels(2, seed=2, mix=mix)
    paths = pair(labels=labels, part_bytes=(part_bytes, part_bytes))
    merged = load(merge(paths, tmp_path / "out.safetensors"))
    assert (merged.labels.epochs, merged.labels.views.mix) == (3, mix)
    for path, slots in zip(paths, (FIRST, SECOND), strict=True):
        part = load(path)
        for epoch in range(4):  # the last one starts over
            before = part.inputs(torch.arange(len(part)), epoch)
            after = merged.inputs(slots, epoch)
            assert torch.equal(before[0], after[0])
            assert torch.equal(before[1], after[1])


def test_partners_are_found_in_the_merged_set(pair, tmp_path):
    def views(partner: list[int]) -> Views:
        count = len(partner)
        box = torch.tensor([[0, 0, 4, 4]]).repeat(count, 1)
        crop = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(count, 1)
        flip, weight = torch.zeros(count, dtype=torch.bool), torch.full((count,), 0.75)
        return Views(crop, flip, torch.tensor(partner), box, weight, "cutmix")

    labels = [  # two epochs each
        EpochLabels(torch.zeros(2, 3, 3), views([1, 2, 0, 2, 0, 1])),
        EpochLabels(torch.zeros(2, 6, 3), views([1, 2, 3, 4, 5, 0, 5, 4, 3, 2, 1, 0])),
    ]
    merged = load(merge(pair(labels=labels), tmp_path / "out.safetensors")).labels
    assert merged.views.partner.view(2, 9).tolist() == [
        [3, 2, 4, 6, 5, 7, 0, 8, 1],
        [6, 8, 7, 0, 5, 4, 3, 2, 1],
    ]


@pytest.mark.parametrize(
    ("stores", "form"),
    [
        (("uint8", "uint8"), torch.uint8),
        (("float16", "float16"), torch.float16),
        (("uint8", "float16"), torch.float16),
        (("float32", "uint8"), torch.float32),
        (("float16", "float32"), torch.float32),
    ],
)
def test_bytes_beside_floats_become_floats(pair, tmp_path, stores, form):
    paths = pair(store=stores)
    merged = load(merge(paths, tmp_path / "out.safetensors"))
    assert merged.file["images"].dtype == form
    for path, slots in zip(paths, (FIRST, SECOND), strict=True):
        before = load(path).pixels(torch.arange(len(slots)))
        after = merged.pixels(slots)
        assert torch.equal(after, before.to(form).float() if form.is_floating_point else before)


def test_the_metadata_are_the_first_ones_with_the_sum_of_ipc(pair, tmp_path):
    networks = "convnet:depth=1", "convnet:depth=2"
    paths = pair(seed=(5, 6), network=networks, protocol=({"epochs": 7}, {"epochs": 8}))
    first, second = (load(path).metadata for path in paths)
    merged = load(merge(paths, tmp_path / "out.safetensors")).metadata
    assert merged["config"] == {**first["config"], "ipc": 3}
    assert merged["merged"] == [first["config"], second["config"]]
    assert set(merged) == {*first, "merged"}
    kept = ("classes", "mirror", "protocol", "data_fingerprint", "network", "versions", "labels")
    assert all(merged[name] == first[name] for name in kept)
    assert RunConfig.model_validate(merged["config"]).protocol == {"epochs": 7}


@pytest.mark.parametrize("space", ["standard", "zca", "unit"])
def test_the_input_space_stays(pair, tmp_path, space):
    paths = pair(space=(space, space))
    merged = load(merge(paths, tmp_path / "out.safetensors"))
    assert merged.space.fingerprint() == load(paths[0]).space.fingerprint()


def test_merging_a_merged_set_again_is_merging_all_at_once(pair, artifact, tmp_path):
    first, second = pair(labels=(epoch_labels(1, 1), epoch_labels(2, 2)))
    third = artifact("c.safetensors", images=noise(3, 3), labels=epoch_labels(3, 3), ipc=3)
    once = merge([first, second, third], tmp_path / "once.safetensors")
    both = merge([first, second], tmp_path / "both.safetensors")
    twice = merge([both, third], tmp_path / "twice.safetensors")
    assert once.read_bytes() == twice.read_bytes()
    assert [part["ipc"] for part in load(twice).metadata["merged"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("differing", "words"),
    [
        ({"temperature": (20.0, 4.0)}, "the temperature of labels: 20.0 and 4.0"),
        ({"epochs": (3, 2)}, "the number of labelled epochs: 3 and 2"),
        ({"mix": ("cutmix", "none")}, "how labelled images are mixed: cutmix and none"),
    ],
)
def test_other_labels_of_epochs_are_refused(pair, tmp_path, differing, words):
    first, second = ({name: both[at] for name, both in differing.items()} for at in (0, 1))
    paths = pair(labels=(epoch_labels(1, **first), epoch_labels(2, **second)))
    assert refusal(paths, tmp_path / "out.safetensors") == (
        f"a.safetensors and b.safetensors differ in {words}; "
        "`ddkit relabel` gives one of them labels like the other's"
    )


def test_other_kinds_of_labels_are_refused(pair, tmp_path):
    paths = pair(labels=(SoftLabels(logits(1, 0)), epoch_labels(2)))
    assert refusal(paths, tmp_path / "out.safetensors") == (
        "a.safetensors and b.safetensors differ in the kind of labels: soft and epoch; "
        "`ddkit relabel` gives one of them labels like the other's"
    )


@pytest.mark.parametrize(
    ("learned", "words"),
    [
        ({"learning_rate": 0.1}, "having a learned rate: yes and no"),
        ({"label_logits": logits(1, 0)}, "having learned labels: yes and no"),
    ],
)
def test_what_only_one_has_learned_is_refused(pair, tmp_path, learned, words):
    paths = pair(images=(noise(1, 1, **learned), noise(2, 2)))
    assert refusal(paths, tmp_path / "out.safetensors") == (
        f"a.safetensors and b.safetensors differ in {words}; leave one of them out"
    )


def test_other_data_are_refused(pair, make_split, tmp_path):
    splits = make_split(), make_split(seed=1)
    one, other = (split.fingerprint for split in splits)
    assert refusal(pair(train=splits), tmp_path / "out.safetensors") == (
        f"a.safetensors and b.safetensors differ in the fingerprint of their data: {one} and "
        f"{other}; distil both from the same data with the same flags"
    )


def test_the_same_classes_in_another_order_are_refused(pair, make_split, tmp_path):
    splits = make_split(), replace(make_split(), classes=("a", "c", "b"))
    assert refusal(pair(train=splits), tmp_path / "out.safetensors") == (
        "a.safetensors and b.safetensors have the same classes in another order: "
        "class 1 is 'b' and 'c'; distil both with the same --classes"
    )


def test_other_names_of_classes_are_refused(pair, make_split, tmp_path):
    splits = make_split(), replace(make_split(), classes=("a", "d", "c"))
    assert refusal(pair(train=splits), tmp_path / "out.safetensors") == (
        "a.safetensors and b.safetensors differ in the name of class 1: 'b' and 'd'; "
        "distil both from the same data with the same flags"
    )


def test_other_numbers_of_classes_are_refused(artifact, make_split, tmp_path):
    paths = [
        artifact(f"{name}.safetensors", train=make_split(classes=count), init="real")
        for name, count in (("a", 3), ("b", 4))
    ]
    assert refusal(paths, tmp_path / "out.safetensors") == (
        "a.safetensors and b.safetensors differ in the number of classes: 3 and 4; "
        "distil both from the same data with the same flags"
    )


def test_other_shapes_of_images_are_refused(artifact, make_split, tmp_path):
    paths = [
        artifact(f"{name}.safetensors", train=make_split(shape=shape))
        for name, shape in (("a", (1, 8, 8)), ("b", (3, 8, 6)))
    ]
    assert refusal(paths, tmp_path / "out.safetensors") == (
        "a.safetensors and b.safetensors differ in the shape of images: (1, 8, 8) and (3, 8, 6); "
        "distil both from the same data with the same flags"
    )


def test_mirrored_beside_not_mirrored_is_refused(pair, make_split, tmp_path):
    splits = make_split(), replace(make_split(), mirror=False)
    assert refusal(pair(train=splits), tmp_path / "out.safetensors") == (
        "a.safetensors and b.safetensors differ in whether images are mirrored: yes and no; "
        "distil both with --flip, or both with --no-flip"
    )


@pytest.mark.parametrize(("one", "other"), [("standard", "unit"), ("unit", "zca")])
def test_another_input_space_is_refused(pair, tmp_path, one, other):
    paths = pair(space=(one, other))
    marks = [load(path).space.fingerprint() for path in paths]
    assert refusal(paths, tmp_path / "out.safetensors") == (
        f"a.safetensors and b.safetensors differ in input space: {one} {marks[0]} and {other} "
        f"{marks[1]}; distil both with the same --space, and the same --pool if it is an "
        "imported one"
    )


def test_the_two_that_differ_are_named_among_many(pair, artifact, tmp_path):
    paths = pair()
    soft = artifact("c.safetensors", images=noise(1, 3), labels=SoftLabels(logits(1, 0)), ipc=1)
    assert refusal([*paths, soft], tmp_path / "out.safetensors").startswith(
        "a.safetensors and c.safetensors differ in the kind of labels: hard and soft; "
    )


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_files_are_refused(pair, tmp_path, count):
    assert refusal(pair()[:count], tmp_path / "out.safetensors") == (
        f"a merge needs two or more distilled sets, got {count}"
    )


def test_the_same_file_twice_is_refused(pair, artifact, tmp_path):
    first, second = pair()
    (tmp_path / "link.safetensors").symlink_to(first)
    for name in ("a", "link"):
        again = tmp_path / f"{name}.safetensors"
        assert refusal([first, second, again], tmp_path / "out.safetensors") == (
            f"a.safetensors and {name}.safetensors are the same file: name it once"
        )


def test_a_file_and_the_folder_it_lies_in_are_the_same_file(artifact, tmp_path):
    path = artifact("distilled.safetensors")
    assert "are the same file: name it once" in refusal([tmp_path, path], tmp_path / "out")


def test_a_copy_is_refused(pair, tmp_path):
    first, _ = pair()
    copy = shutil.copy(first, tmp_path / "copy.safetensors")
    assert refusal([first, copy], tmp_path / "out.safetensors") == (
        "all images of a.safetensors are in copy.safetensors too, and would only be repeated: "
        "leave a.safetensors out"
    )


def test_the_same_images_with_other_labels_in_another_form_are_refused(artifact, tmp_path):
    images = greys(2, 10)
    floats = Synthetic(images.images.float() / 255, images.classes)
    paths = [
        artifact("a.safetensors", images=images, labels=SoftLabels(logits(2, 0))),
        artifact("b.safetensors", images=floats, labels=SoftLabels(logits(2, 5)), store="float32"),
    ]
    assert "would only be repeated" in refusal(paths, tmp_path / "out.safetensors")


@pytest.mark.parametrize("order", [1, -1])
def test_a_set_that_is_a_part_of_another_is_refused(pair, tmp_path, order):
    paths = pair()
    merged = merge(paths, tmp_path / "merged.safetensors")
    assert refusal([paths[1], merged][::order], tmp_path / "out.safetensors") == (
        "all images of b.safetensors are in merged.safetensors too, and would only be repeated: "
        "leave b.safetensors out"
    )


def test_some_images_in_common_are_allowed(artifact, tmp_path):
    """Random real images of two seeds may meet."""
    images = [greys(2, 10), greys(2, 13)]
    paths = [artifact(f"{name}", images=i) for name, i in zip("ab", images, strict=True)]
    assert len(load(merge(paths, tmp_path / "out.safetensors"))) == 12


def test_a_set_that_lacks_images_is_refused(pair, tmp_path):
    lacking = Synthetic(noise(2, 2).images, torch.tensor([0, 0, 1, 1, 1, 2]))
    assert refusal(pair(images=(noise(1, 1), lacking)), tmp_path / "out.safetensors") == (
        "b.safetensors holds 3 images of class 'b', but its configuration says ipc 2: distil it "
        "again"
    )


def test_an_existing_file_is_refused_unless_it_may_be_overwritten(pair, tmp_path):
    first, second = pair()
    out = merge([first, second], tmp_path / "out.safetensors")
    assert refusal([second, first], out) == (
        "--out out.safetensors already exists: name a new file, or use --overwrite"
    )
    before = out.read_bytes()
    merge([second, first], out, overwrite=True)
    assert out.read_bytes() != before


def test_one_of_the_merged_files_is_never_overwritten(pair, tmp_path):
    paths = pair()
    assert refusal(paths, paths[1], overwrite=True) == (
        "--out b.safetensors would replace b.safetensors, which is merged: name a new file"
    )


@pytest.mark.parametrize("content", [b"precious", None], ids=["text", "images of a set"])
def test_nothing_but_a_distilled_set_is_overwritten(pair, tmp_path, content):
    paths = pair()
    out = tmp_path / "thesis.tex"
    if content is None:
        write_tensors(out, {"images": torch.zeros(3)}, {"format": "ddkit.images"})
    else:
        out.write_bytes(content)
    assert refusal(paths, out, overwrite=True) == (
        "--out thesis.tex is not a complete distilled set, and --overwrite replaces nothing "
        "else: name a new file"
    )


def test_a_folder_is_no_place_for_a_file(pair, tmp_path):
    paths = pair()
    (tmp_path / "runs").mkdir()
    with pytest.raises(DdkitError, match=re.escape(f"--out {tmp_path / 'runs'} is a folder")):
        merge(paths, tmp_path / "runs", overwrite=True)


def test_a_set_of_several_files_is_overwritten_with_all_of_them(pair, artifact, tmp_path):
    paths = pair()
    old = artifact("old.safetensors", part_bytes=64)
    assert len(list(tmp_path.glob("old-*"))) == 6
    merge(paths, old, overwrite=True)
    assert not list(tmp_path.glob("old-*"))
    assert len(load(old)) == 9


def test_parts_of_several_files_are_merged(pair, tmp_path):
    whole = merge(pair(), tmp_path / "whole.safetensors")
    merged = merge(pair(part_bytes=(64, 128)), tmp_path / "parts.safetensors")
    assert "images" not in TensorFile(tmp_path / "a.safetensors")
    assert whole.read_bytes() == merged.read_bytes()


def test_the_merged_files_stay_as_they_were(pair, tmp_path):
    paths = pair()
    before = [path.read_bytes() for path in paths]
    merge(paths, tmp_path / "out.safetensors")
    assert [path.read_bytes() for path in paths] == before

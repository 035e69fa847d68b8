"""Pixels and labels that can't be what the user says are refused, with what they might be."""

import pytest
import torch
from torch import Tensor

from ddkit.data.augmentation.views import draw_views
from ddkit.data.options import DataOptions
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.data.zca import Zca
from ddkit.distilled.interop.label_order import check_labels
from ddkit.distilled.interop.plausible import FLAT, OFF, Plausible
from ddkit.labels import EpochLabels, HardLabels, SoftLabels, joined
from ddkit.runtime.errors import DdkitError
from tests.distilled.interop.conftest import all_pixels

MEAN, STD = torch.tensor([0.45, 0.4, 0.35]), torch.tensor([0.25, 0.24, 0.26])
NAMES = ("a", "b", "c")
CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])


def photographs(count: int, side: int = 12, seed: int = 0) -> Tensor:
    """Return smooth images with the spectrum of photographs: float32 (count, 3, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.fft.rfft2(torch.randn(count, 3, side, side, generator=generator))
    rows, columns = torch.fft.fftfreq(side) * side, torch.fft.rfftfreq(side) * side
    images = torch.fft.irfft2(noise / (1 + rows[:, None] ** 2 + columns**2) ** 0.7, s=(side, side))
    images = (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)
    column = (-1, 1, 1)
    return (images * STD.view(column) + MEAN.view(column)).clamp(0, 1)


@pytest.fixture(scope="module")
def train() -> Split:
    images = photographs(300).mul(255).round().byte()
    return Split(images, torch.arange(300) % 3, NAMES)


@pytest.fixture(scope="module")
def spaces(train) -> dict[str, InputSpace]:
    return {kind: InputSpace.fit(train, kind) for kind in ("standard", "zca", "unit")}


def optimised(pixels: Tensor, spread: float) -> Tensor:
    """Return pixels as an optimiser leaves them: beyond 0 to 1 by the size of its steps."""
    return pixels + spread * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(9))


def refused(pixels: Tensor, said: InputSpace, was: InputSpace, train: Split | None) -> str:
    """Return what the check says of pixels that went out by one space and come in by another."""
    inputs = was.encode(pixels)
    with pytest.raises(DdkitError) as caught:
        Plausible(said, train).check(said.decode(inputs), "file", inputs)
    assert "; or accept it as it is with --trust pixels" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("said", "was", "known", "words", "way"),
    [
        ("unit", "standard", True, "would have the mean -0.0", "the data's own mean and std"),
        ("unit", "standard", False, "of pixels in 0 to 1", "--mean and --std"),
        ("unit", "zca", True, "would have the mean", "--space zca"),
        ("unit", "zca", False, "of pixels in 0 to 1", "--data NAME --space zca if it whitens"),
        ("standard", "unit", True, "no pixel darker than --mean", "--space unit"),
        ("standard", "unit", False, "no pixel darker than --mean", "--space unit"),
        ("standard", "zca", True, "less than half the contrast", "--space zca"),
        ("zca", "unit", True, "would have the mean", "--space unit"),
    ],
)
def test_a_wrong_space_is_refused_with_the_right_one(spaces, train, said, was, known, words, way):
    line = refused(photographs(30, seed=1), spaces[said], spaces[was], train if known else None)
    assert words in line
    assert way in line


@pytest.mark.parametrize("kind", ["standard", "zca", "unit"])
@pytest.mark.parametrize("spread", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("known", [True, False])
def test_images_that_leave_the_range_are_taken(spaces, train, kind, spread, known):
    space = spaces[kind]
    pixels = optimised(photographs(10, seed=2), spread)
    inputs = space.encode(pixels)
    Plausible(space, train if known else None).check(pixels, "file", inputs)


def test_noise_and_averages_of_images_are_taken(spaces, train):
    """Sets that start from noise, and flat ones, are no whitened images."""
    space, column = spaces["standard"], (-1, 1, 1)
    noise = torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    means = torch.stack([photographs(300)[label::3].mean(0) for label in range(3)])
    for pixels in (noise * STD.view(column) + MEAN.view(column), means):
        Plausible(space, train).check(pixels, "file", space.encode(pixels))


def test_bytes_and_pixels_that_belong_there_as_they_are(spaces):
    line = refused(photographs(6) * 255, spaces["standard"], spaces["unit"], None)
    assert "bytes of 0 to 255, divide them by 255" in line
    with pytest.raises(DdkitError, match="neither normalised nor whitened"):
        Plausible(spaces["unit"], None).check(spaces["standard"].encode(photographs(6)), "file")


def test_limits_are_where_they_are_said_to_be(spaces, train):
    check = Plausible(spaces["standard"], train)
    images = torch.full((10, 3, 12, 12), 0.4)
    images[:5:2], images[1:5:2] = -1.0, 2.0
    assert "of its pixels" not in str(check.problem(images))
    images[:6:2], images[1:6:2] = -1.0, 2.0
    assert "60% of its pixels far outside" in check.problem(images)
    dots = (torch.rand(50, 3, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.02).float()
    assert Plausible(None, None).problem(dots) is None
    assert Plausible(None, None).problem(1 - dots) is None
    data = check.data
    for factor, refuses in ((0.95, False), (1.05, True)):
        shifted = (data.mean + factor * OFF * data.std).view(1, 3, 1, 1).expand(2, 3, 12, 12)
        assert (check.problem(shifted) is not None) == refuses
    assert FLAT < check.contrast(photographs(30, seed=1)) < 1.1


def save(folder, inputs: Tensor, labels: Tensor = CLASSES) -> None:
    torch.save(inputs, folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")


def test_an_import_is_refused_leaves_nothing_and_takes_what_is_trusted(tmp_path, bring):
    pixels = photographs(6)
    save(tmp_path, pixels)
    said = {"classes": NAMES, "mean": MEAN.tolist(), "std": STD.tolist()}
    with pytest.raises(DdkitError, match="plausible with --space unit"):
        bring(tmp_path, **said)
    assert not list(tmp_path.glob("imported*"))
    trusted = bring(tmp_path, trust=("pixels",), **said)
    space = InputSpace(MEAN, STD)
    torch.testing.assert_close(all_pixels(trusted), space.decode(pixels))
    torch.testing.assert_close(all_pixels(bring(tmp_path, classes=NAMES, unit=True)), pixels)


def test_whitened_images_are_known_by_the_pixels_beside_them(tmp_path, bring):
    pixels = photographs(6)
    save(tmp_path, Zca.fit(photographs(100)).whiten(pixels) * 3)
    torch.save(pixels, tmp_path / "images_zca_best.pt")
    said = {"classes": NAMES, "mean": MEAN.tolist(), "std": STD.tolist()}
    with pytest.raises(DdkitError, match=r"whitened images.*--data NAME --space zca"):
        bring(tmp_path, **said)
    plain = bring(tmp_path / "images_zca_best.pt", **said)
    torch.testing.assert_close(all_pixels(plain), pixels)


def test_pixels_of_idc_are_looked_at_too(tmp_path, bring):
    torch.save([(photographs(6) - 0.4) / 0.25, CLASSES], tmp_path / "a.pt")
    said = {"classes": NAMES, "mean": MEAN.tolist(), "std": STD.tolist(), "factor": 1}
    with pytest.raises(DdkitError, match="neither normalised nor whitened"):
        bring(tmp_path / "a.pt", format="idc", **said)


def test_the_data_of_a_set_are_asked(tmp_path, bring):
    """A set of bright digits is no set of digits, however plausible it is by itself."""
    save(tmp_path, torch.rand(20, 1, 8, 8) * 0.2 + 0.75, torch.arange(10).repeat_interleave(2))
    with pytest.raises(DdkitError, match=r"would have the mean 0\.8\d, but the data have 0\.3"):
        bring(tmp_path, data=DataOptions(name="digits"), unit=True)


def one_hot(classes: Tensor, count: int) -> Tensor:
    return 5 * torch.eye(count)[classes]


def complaint(logits: Tensor, classes: Tensor, names) -> str:
    with pytest.raises(DdkitError) as caught:
        check_labels(SoftLabels(logits), classes, names, "file")
    return str(caught.value)


def test_classes_in_the_order_of_text_are_recognised():
    names = [f"class {number}" for number in range(20)]
    classes = torch.arange(20).repeat_interleave(2)
    text = torch.tensor(sorted(range(20), key=str))  # 0, 1, 10, 11, …
    columns = one_hot(classes, 20)[:, text]  # column k is that of class text[k]
    line = complaint(columns, classes, names)
    assert "only 10% of its images" in line  # those of 0 and 1
    assert "its labels seem to be in the order of the numbers of classes as text" in line
    assert "(class 0, class 1, class 10, …)" in line
    rows = one_hot(text[classes], 20)  # images of the folders 0, 1, 10, … beside labels 0, 1, 2, …
    assert "its images seem to be in the order of the numbers" in complaint(rows, classes, names)
    assert "--trust labels" in line


def test_classes_in_the_order_of_their_names_are_recognised():
    names, classes = ("emu", "cat", "dog"), torch.arange(3)
    columns = one_hot(classes, 3)[:, [1, 2, 0]]  # cat, dog, emu
    line = complaint(columns, classes, names)
    assert "the order of the names of classes as text (cat, dog, emu, …)" in line


def test_images_one_of_each_class_in_turn_are_recognised():
    turns = torch.arange(12) % 4
    line = complaint(one_hot(turns, 4), torch.arange(4).repeat_interleave(3), "abcd")
    assert "one of each class in turn, not sorted by class" in line
    other = torch.tensor([3, 0, 0, 2, 3, 1, 1, 3, 0, 1, 2, 2])
    line = complaint(one_hot(other, 4), torch.arange(4).repeat_interleave(3), "abcd")
    assert "different orders, perhaps numbers sorted as text" in line


@pytest.mark.parametrize(("count", "right", "taken"), [(3, 0.6, True), (10, 0.4, False)])
def test_a_weak_teacher_is_taken(count, right, taken):
    classes = torch.arange(count).repeat_interleave(10)
    said = torch.where(torch.arange(len(classes)) % 10 < 10 * right, classes, (classes + 1) % count)
    if taken:
        check_labels(SoftLabels(one_hot(said, count)), classes, list(map(str, range(count))), "f")
    else:
        assert f"only {right:.0%}" in complaint(one_hot(said, count), classes, "abcdefghij")


def test_of_many_classes_fewer_labels_must_be_right():
    classes = torch.arange(200).repeat_interleave(10)
    names = [f"n{number}" for number in range(200)]
    said = torch.where(torch.arange(len(classes)) % 10 < 2, classes, (classes + 7) % 200)
    check_labels(SoftLabels(one_hot(said, 200)), classes, names, "file")
    assert "of only 0%" in complaint(one_hot((classes + 7) % 200, 200), classes, names)


def test_labels_of_epochs_count_together_and_hard_ones_not():
    views = joined([draw_views(6, (8, 8), torch.Generator()) for _ in range(3)])
    epochs = torch.stack([one_hot(CLASSES, 3), one_hot(CLASSES, 3), one_hot(2 - CLASSES, 3)])
    check_labels(EpochLabels(epochs, views), CLASSES, NAMES, "file")
    check_labels(HardLabels(CLASSES), CLASSES, NAMES, "file")
    with pytest.raises(DdkitError, match="of only 33%"):
        check_labels(EpochLabels(epochs.flip(2), views), CLASSES, NAMES, "file")


def test_an_import_of_labels_in_another_order_is_refused_or_trusted(tmp_path, bring):
    save(tmp_path, photographs(6), one_hot((CLASSES + 1) % 3, 3))
    said = {"classes": NAMES, "unit": True, "labels": "logits"}
    with pytest.raises(DdkitError, match=r"the labels of .* only 0% of its images"):
        bring(tmp_path, **said)
    assert not list(tmp_path.glob("imported*"))
    assert bring(tmp_path, trust=("labels",), **said).labels.kind == "soft"
    assert bring(tmp_path, **said | {"labels": "hard"}).classes.tolist() == [1, 1, 2, 2, 0, 0]

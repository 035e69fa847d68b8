"""What `ddkit plan` predicts from small sizes, against runs of the size itself and sums by hand."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from ddkit import DdkitError, register_data
from ddkit.data.options import DataOptions
from ddkit.data.pixels.decoding import Decoder
from ddkit.pipeline import plan as planning
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.plan import Line, Plan, check_fits, data_of, line, plan
from ddkit.pipeline.rehearse import Rehearsal, rehearse
from ddkit.pipeline.resolve import Request, resolve

DATA = Data(2000, 10, (3, 16, 16))
WIDTH, NARROW = "convnet:depth=2:width=8", "convnet:depth=2:norm=batch:width=8"
TESLA = (
    "experts=3",
    "train_epochs=3",
    "max_start_epoch=2",
    "expert_epochs=1",
    "student_steps=3",
    "iterations=2",
    "together=1",
)
APM = ("teachers=3", "train_epochs=1", "rounds=2", "student_epochs=5", "together=1")
TEDDY = ("last=6", "iterations=2", "teachers=2", "label_epochs=40")


def configured(method: str, *settings: str, ipc: int = 20, **common):
    network = NARROW if method == "teddy" else WIDTH
    flags = {"ipc": ipc, "threads": 1, "network": network, "device": "cpu", **common}
    return resolve(Request(method, flags, {"name": "cifar10"}, settings, "none"))


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("teddy", (*TEDDY, "batch_size=100")),
        ("tesla", TESLA),
        ("tesla", (*TESLA, "batch_syn=100")),
        ("apm", APM),
        ("apm", (*APM, "batch_syn=120")),
    ],
)
def test_memory_predicted_from_small_sizes_is_that_of_the_size_itself(method, settings, tmp_path):
    config = configured(method, *settings)
    _, measured = Rehearsal(config, DATA, tmp_path).step
    found = plan(config, DATA)
    assert found.peak_bytes == pytest.approx(measured, rel=0.15)


def test_sizes_that_are_tried_leave_no_rest_where_they_can():
    assert planning.whole_batches(50) == (10, 50)
    assert planning.whole_batches(1000) == (20, 50)
    assert planning.whole_batches(53) == planning.SMALL_BATCH


def test_steps_of_all_shards_count_and_time_grows_with_them(monkeypatch):
    monkeypatch.setattr(Rehearsal, "step", (0.5, 1000))
    found = plan(configured("teddy", *TEDDY, "batch_size=60"), DATA)
    assert found.synthesis_seconds == 2 * 4 * 0.5  # shards of 60 of 200 images
    assert (found.images, found.drawn) == (60, 60)


def test_disk_is_that_of_sums_by_hand():
    found = plan(configured("tesla", *TESLA, "labels=target"), DATA)
    parameters = 8 * 27 + 8 + 16 + 8 * 72 + 8 + 16 + 10 * 8 * 16 + 10
    assert found.pool_bytes == pytest.approx(3 * 4 * parameters * 4, rel=0.2)  # and headers
    assert found.image_bytes == 200 * 3 * 16 * 16 * 4  # beyond the range of bytes: float32
    assert found.label_bytes == 200 * 10 * 4


@pytest.mark.parametrize(
    ("form", "views", "image"),
    [
        ("auto", "auto", 20),
        ("int8", "auto", 12),
        ("top-k:3", "auto", 9),
        ("recipe", "auto", 0),
        ("auto", "stored", 20 + 33),
    ],
)
def test_labels_take_what_their_form_takes(form, views, image):
    settings = (*TEDDY, "label_epochs=40")
    config = configured("teddy", *settings, labels_as=form, label_views=views)
    assert plan(config, DATA).label_bytes == pytest.approx(40 * 200 * image, abs=20)


@pytest.mark.parametrize(
    ("settings", "vectors"), [(("label_epochs=40",), 40 * 200), (("labels=image",), 200)]
)
def test_a_plan_compares_the_forms_of_labels(settings, vectors):
    found = plan(configured("teddy", *TEDDY, *settings), DATA)
    each = {"fp16": 20, "int8": 12, "top-k:1": 3}
    assert found.forms == pytest.approx({f: vectors * size for f, size in each.items()}, abs=20)
    assert found.forms["fp16"] == found.label_bytes


def test_classes_have_one_form():
    assert plan(configured("random"), DATA).forms == {}


def test_a_plan_without_steps_has_no_memory():
    found = plan(configured("random"), DATA)
    assert (found.peak_bytes, found.synthesis_seconds, found.pool_bytes) == (0, 0, 0)
    assert found.image_bytes == 200 * 3 * 16 * 16


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(10, 10, 7.0)], Line(7.0, 0.0, 0.0)),
        ([(10, 10, 7.0), (20, 20, 9.0)], Line(5.0, 0.2, 0.0)),
        ([(10, 8, 7.0), (20, 8, 9.0), (10, 16, 11.0)], Line(1.0, 0.2, 0.5)),
    ],
)
def test_a_line_goes_through_its_points(points, expected):
    found = line(points)
    assert found == Line(*(pytest.approx(value) for value in vars(expected).values()))
    for images, drawn, value in points:
        assert found.at(images, drawn) == pytest.approx(value)


def test_images_that_rest_take_no_time(monkeypatch):
    def step(self):
        images = self.config.ipc * 10
        return 0.1 * self.config.options["batch_syn"] - 1e-4 * images, 1000 + images

    monkeypatch.setattr(Rehearsal, "step", property(step))
    found = plan(configured("apm", *APM, "batch_syn=500", ipc=5000), Data(60_000, 10, (3, 8, 8)))
    rounds = 2
    assert found.synthesis_seconds == pytest.approx(rounds * 50.0, rel=0.01)
    assert found.peak_bytes == 1000 + 50_000


def test_data_are_known_by_name_at_the_size_and_classes_asked_for():
    assert data_of(DataOptions(name="imagenet-1k")) == Data(1_281_167, 1000, (3, 224, 224))
    assert data_of(DataOptions(name="imagenet-1k", resize=64)).shape == (3, 64, 64)
    assert data_of(DataOptions(name="cifar100", classes="10")) == Data(5000, 10, (3, 32, 32))
    assert data_of(DataOptions(name="mine"), Data(9, 3, (1, 8, 8))) == Data(9, 3, (1, 8, 8))
    with pytest.raises(DdkitError, match=r"unknown data set 'mine'.*--like 50000,10,3x32x32"):
        data_of(DataOptions(name="mine"))


def test_folders_are_planned_by_counts_and_some_of_their_images(tmp_path, monkeypatch):
    for name, count in {"cat": 30, "dog": 20}.items():
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(count):
            colour = (number, 0, 0) if name == "dog" else number
            image = Image.new("RGB" if name == "dog" else "L", (12, 10), colour)
            image.save(tmp_path / "train" / name / f"{number}.png")
    opened = []
    one = Decoder.one
    monkeypatch.setattr(Decoder, "one", lambda self, file: opened.append(file) or one(self, file))
    options = DataOptions(name=str(tmp_path))
    assert data_of(options) == Data(50, 2, (3, 10, 12))  # grey ones first, then coloured ones
    assert data_of(options.model_copy(update={"resize": 8})).shape == (3, 8, 8)
    assert data_of(options.model_copy(update={"classes": ("dog", "cat")})) == Data(
        50, 2, (3, 10, 12)
    )
    assert len(opened) == 3 * 16
    Image.new("L", (20, 10)).save(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(DdkitError, match=r"images differ in size.*--resize"):
        data_of(options)


def test_registered_data_are_planned():
    images, labels = torch.zeros(6, 1, 8, 9, dtype=torch.uint8), torch.arange(6) % 3
    register_data("mine-in-memory", (images, labels))
    assert data_of(DataOptions(name="mine-in-memory")) == Data(6, 3, (1, 8, 9))


def made_plan(drawn=50, peak=Line(100.0, 0.0, 10.0), pool_bytes=5) -> Plan:  # noqa: B008
    largest = round(peak.at(50, drawn))
    return Plan(1.0, 1.0, 1.0, largest, pool_bytes, 5, 5, peak, 50, drawn, (1.0,), {})


def test_what_does_not_fit_is_refused_with_what_would(monkeypatch):
    config = configured("teddy", *TEDDY)
    monkeypatch.setattr(planning, "free_memory", lambda config: (500, "this machine"))
    with pytest.raises(DdkitError) as error:
        check_fits(config, made_plan())
    assert str(error.value) == (
        "a step needs 600 B, but this machine has 500 B left: --set batch_size=40 would fit"
    )
    check_fits(config, made_plan(drawn=40))


def test_a_disk_that_is_too_small_is_named(monkeypatch):
    with pytest.raises(DdkitError, match=r"need 1000\.0 TB, but"):
        check_fits(configured("teddy", *TEDDY), made_plan(pool_bytes=10**15, peak=Line(0, 0, 0)))


def test_a_plan_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    plan(configured("apm", *APM, ipc=3), DATA)
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("teddy", (*TEDDY, "batch_size=100")),
        ("tesla", (*TESLA, "student_steps=30")),
        ("apm", (*APM, "student_batch=20")),
        ("random", ()),
    ],
)
def test_under_a_budget_a_plan_keeps_to_it(method, settings):
    common = {"network": "convnet:depth=2:width=32", "ipc": 1} if method == "tesla" else {}
    free = plan(configured(method, *settings, **common), DATA).peak_bytes
    config = configured(method, *settings, **common, memory_budget=max(1, free // 2))
    found = plan(config, DATA)
    assert found.peak_bytes <= free // 2
    check_fits(config, found)


@pytest.mark.parametrize(("method", "settings"), [("teddy", TEDDY), ("tesla", TESLA), ("apm", APM)])
def test_a_plan_refuses_a_budget_that_is_too_small_and_names_the_smallest(method, settings):
    config = configured(method, *settings, memory_budget="2kB")
    with pytest.raises(DdkitError, match=r"of 1 image, the smallest, needs [\d.]+ MB"):
        plan(config, DATA)


@pytest.mark.parametrize("planned", [plan, rehearse])
@pytest.mark.parametrize(
    ("method", "settings", "common", "said"),
    [
        ("fadrm", ("sizes=2,16", "first=1", "last=2"), {"network": NARROW}, "sizes=2"),
        ("rded", ("collage=17",), {}, "collage=17"),
        ("rded", ("collage=4", "crops=1"), {}, "crops"),
        ("herding", (), {"init": "noise"}, "--init noise"),
        ("herding", (), {"memory_budget": "2kB"}, "needs"),
        ("random", (), {"factor": 17}, "--factor 17"),
    ],
)
def test_what_a_run_would_refuse_is_refused_before_it_is_rehearsed(
    planned, method, settings, common, said
):
    with pytest.raises(DdkitError, match=said):
        planned(configured(method, *settings, **common), DATA)


def test_a_plan_under_a_budget_is_held_against_it():
    config = configured("teddy", *TEDDY, memory_budget="500B")
    with pytest.raises(DdkitError, match=r"a step needs 600 B, but the memory budget has 500 B"):
        check_fits(config, made_plan())

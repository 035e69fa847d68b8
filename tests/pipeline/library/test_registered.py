"""Images that a program brings: distilled like any others, known by their content."""

import pytest
import torch

import ddkit
from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources

IMAGES, LABELS = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2, 2])


def test_a_set_is_distilled_from_them_and_judged_on_their_test_split(distilled):
    rows = ddkit.evaluate(distilled(), protocols="plain", seeds=1, epochs=2, random=False)
    assert [len(row.evaluation.accuracies) for row in rows] == [1, 1]
    assert distilled().class_names == ["a", "b", "c"]


def test_names_of_classes_are_their_numbers_where_none_are_said():
    ddkit.register_data("mine", (IMAGES, LABELS), mirror=False)
    split = sources.load(DataOptions(name="mine"), "train")
    assert (split.classes, split.mirror) == (("0", "1", "2"), False)
    assert torch.equal(split.take(torch.arange(4)), IMAGES)


def test_a_run_does_not_go_on_with_other_images(distilled, reports):
    def stop(step: int) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        distilled(progress=reports(stop))
    images = torch.full((18, 1, 8, 8), 9, dtype=torch.uint8)
    ddkit.register_data("tiny", (images, torch.arange(3).repeat(6)), classes=["a", "b", "c"])
    with pytest.raises(ddkit.DdkitError, match=r"the data of the run in .* changed"):
        distilled()


def test_what_the_program_changes_later_is_not_seen():
    images = IMAGES.clone()
    ddkit.register_data("mine", (images, LABELS))
    images += 1
    assert not sources.load(DataOptions(name="mine"), "train").take(torch.arange(4)).any()


def test_without_a_test_split_there_is_nothing_to_judge_on(distilled):
    ddkit.register_data("mine", (IMAGES.repeat(4, 1, 1, 1), LABELS.repeat(4)))
    with pytest.raises(ddkit.DdkitError, match="'mine' was registered without a test split"):
        ddkit.evaluate(distilled(data="mine"), seeds=1)


def test_other_processes_cannot_read_them(distilled, tmp_path):
    with pytest.raises(ddkit.DdkitError, match="'tiny' lies in the memory of this process"):
        distilled(executor="ray")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ddkit.DdkitError, match="where --executor ray cannot read it"):
        ddkit.evaluate(distilled(), executor="ray")


@pytest.mark.parametrize("name", ["digits", "org/name", "./here", "..", ""])
def test_a_name_stands_for_one_thing(name):
    with pytest.raises(ddkit.DdkitError, match="names other data, or is not a plain name"):
        ddkit.register_data(name, (IMAGES, LABELS))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.float(), LABELS, r"uint8 \(N, channels, height, width\)"),
        (IMAGES[0], LABELS, r"got torch.uint8 \(3, 8, 8\)"),
        (IMAGES[:0], LABELS[:0], r"got torch.uint8 \(0, 3, 8, 8\)"),
        (IMAGES, LABELS.float(), "labels must be int64"),
        (IMAGES, LABELS[:3], r"int64 \(4,\), one for each image"),
        (IMAGES, LABELS - 1, "labels must be 0 … 1"),
        (IMAGES, LABELS + 1, "labels must be 0 … 2"),
    ],
)
def test_tensors_of_another_form_are_refused_with_the_form(images, labels, message):
    classes = ["a", "b", "c"] if 3 in labels else None
    with pytest.raises(ddkit.DdkitError, match=message):
        ddkit.register_data("mine", (images, labels), classes=classes)


def test_classes_that_stand_in_another_order_by_now_are_matched_by_name(distilled, heard):
    images = (torch.arange(24, dtype=torch.uint8) * 10).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    labels, names = torch.arange(3).repeat(8), ["0", "2", "10"]
    words = {"protocols": "plain", "seeds": 1, "epochs": 3}

    def accuracies(**more) -> list[tuple[float, ...]]:
        rows = ddkit.evaluate(distilled(data="mine"), **words, **more)
        return [row.evaluation.accuracies for row in rows]

    ddkit.register_data("mine", (images, labels), (images, labels), classes=names)
    before = accuracies()
    moved = torch.tensor([0, 2, 1])[labels]  # as text "10" stands before "2"
    ddkit.register_data("mine", (images, moved), (images, moved), classes=["0", "10", "2"])
    assert accuracies(progress=heard) == before
    said = "classes of 'mine' are matched by name, because class 1 is '2' and '10' there"
    assert said in heard.notes
    ddkit.register_data("mine", (images, moved), (images, moved), classes=["0", "10", "3"])
    with pytest.raises(ddkit.DdkitError, match="the data 'mine' are not those"):
        accuracies()

import pytest
import torch

from ddkit.data.sources.selection import choose_classes, imbalanced, resized, split_holdout
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError


def split(*counts, names=None):
    """Labels 0 … n-1 in turn; pixel value = position."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 2, 2)
    return Split(images, labels, names or tuple("abcdefgh"[: len(counts)]), mirror=False)


def rows(part):
    return part.images[:, 0, 0, 0].tolist()


def test_chosen_classes_are_labelled_in_the_order_asked_for():
    chosen = choose_classes(split(2, 2, 2), ("c", "a"))
    assert chosen.classes == ("c", "a")
    assert rows(chosen) == [0, 1, 4, 5]
    assert chosen.labels.tolist() == [1, 1, 0, 0]
    assert chosen.mirror is False


def test_one_number_means_the_first_classes():
    assert choose_classes(split(1, 1, 1), ("2",)).classes == ("a", "b")


def test_names_win_over_indices():
    digits = split(1, 1, 1, names=("2", "1", "0"))
    assert choose_classes(digits, ("0", "1")).classes == ("0", "1")
    assert choose_classes(split(1, 1, 1), ("2", "0")).classes == ("c", "a")


def test_an_unknown_class_names_the_nearest():
    pets = split(1, 1, names=("beagle", "poodle"))
    with pytest.raises(DdkitError, match="unknown class 'beegle': did you mean 'beagle'"):
        choose_classes(pets, ("beegle", "poodle"))


@pytest.mark.parametrize("count", ["0", "4"])
def test_more_classes_than_there_are_is_refused(count):
    with pytest.raises(DdkitError, match=f"--classes {count}: the data set has 3 classes"):
        choose_classes(split(1, 1, 1), (count,))


def test_a_class_by_name_and_by_index_is_twice_the_same():
    with pytest.raises(DdkitError, match="--classes a,0 names a class twice"):
        choose_classes(split(1, 1), ("a", "0"))


def test_imbalance_keeps_a_fraction_of_each_class_within_the_range():
    whole = split(60, 60, 60, 60)
    kept = imbalanced(whole, 0.4, 0.8, seed=1)
    assert all(24 <= count <= 48 for count in kept.counts)
    assert len(set(kept.counts.tolist())) > 1
    assert rows(kept) == sorted(rows(kept))


def test_imbalance_follows_from_the_seed_alone():
    whole = split(40, 40)
    torch.manual_seed(0)
    first = rows(imbalanced(whole, 0.4, 1.0, seed=1))
    torch.manual_seed(1)
    assert rows(imbalanced(whole, 0.4, 1.0, seed=1)) == first
    assert rows(imbalanced(whole, 0.4, 1.0, seed=2)) != first


def test_imbalance_keeps_at_least_one_image():
    assert imbalanced(split(1, 2), 0.01, 0.01, seed=0).counts.tolist() == [1, 1]


def test_holdout_is_stratified_and_divides_the_split():
    rest, held = split_holdout(split(10, 20, 30), 0.2, seed=3)
    assert held.counts.tolist() == [2, 4, 6]
    assert sorted(rows(rest) + rows(held)) == list(range(60))
    assert rows(held) == sorted(rows(held))


def test_holdout_follows_from_the_seed_alone():
    whole = split(20, 20)
    held = rows(split_holdout(whole, 0.5, seed=1)[1])
    assert rows(split_holdout(whole, 0.5, seed=1)[1]) == held
    assert rows(split_holdout(whole, 0.5, seed=2)[1]) != held


def test_a_smaller_holdout_is_part_of_a_larger_one():
    whole = split(20, 20)
    small, large = (set(rows(split_holdout(whole, f, seed=1)[1])) for f in (0.1, 0.4))
    assert small < large


def test_no_fraction_means_no_holdout():
    whole = split(2)
    assert split_holdout(whole, 0.0, seed=0) == (whole, None)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_each_side_of_the_holdout_has_every_class(fraction):
    rest, held = split_holdout(split(2, 3), fraction, seed=0)
    assert min(rest.counts) == min(held.counts) == 1


def test_a_class_of_one_image_cannot_be_divided():
    with pytest.raises(DdkitError, match=r"class 'b' has 1 training image.*--holdout 0"):
        split_holdout(split(5, 1), 0.1, seed=0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_an_impossible_holdout_is_refused(fraction):
    with pytest.raises(DdkitError, match="at least 0 and less than 1"):
        split_holdout(split(5), fraction, seed=0)


def test_resizing_changes_size_only():
    whole = split(2, 1)
    small = resized(whole, 1)
    assert small.images.shape == (3, 3, 1, 1)
    assert rows(small) == [0, 1, 2]
    assert resized(whole, 2) is whole
    assert resized(whole, None) is whole

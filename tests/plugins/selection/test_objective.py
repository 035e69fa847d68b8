"""Whole selections: which images, in which slots, from which features."""

from dataclasses import replace

import pytest
import torch
from ddkit_selection.objective import SelectionObjective
from ddkit_selection.options import SelectionOptions
from ddkit_selection.rules import RULES

from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import prepare
from ddkit.pools.pool import Pool
from ddkit.runtime import interrupt
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.images import stored

ALIASES = ("herding", "k-center")


def rows_among(images, split) -> list[int]:
    """Return where each uint8 image stands in a split, which must hold it exactly once."""
    same = (images[:, None] == split.images[None]).flatten(2).all(2)
    assert (same.sum(1) == 1).all()
    return same.int().argmax(1).tolist()


def finished(objective) -> torch.Tensor:
    """Return the uint8 images of an objective's first shard."""
    shard = objective.shards()[0]
    leaves = {name: leaf.value for name, leaf in objective.initialise(shard).items()}
    return stored(objective.decode(shard, leaves).images, "auto")


@pytest.mark.parametrize("method", ALIASES)
def test_image_i_of_a_class_is_the_ith_choice_among_its_training_images(objective, method):
    work = objective(method=method, ipc=4)
    run = work.run
    images = finished(work)
    for label in range(10):
        chosen = work.chosen(label)
        assert (run.train.labels[chosen] == label).all()
        assert len(set(chosen.tolist())) == 4
        own = (run.train.labels == label).nonzero().flatten()
        network = work.pool.network(0)
        features = network.flatten(network.features(run.resident.inputs(own)))
        expected = own[RULES[method](features, 4)]
        assert torch.equal(chosen, expected)
        assert torch.equal(images[label * 4 : label * 4 + 4], run.train.images[expected])


@pytest.mark.parametrize("rule", RULES)
def test_only_training_images_are_chosen_though_the_holdout_has_better_ones(run, make_split, rule):
    train = make_split(each=6)
    means = torch.stack([train.images[train.labels == c].float().mean(0) for c in range(3)])
    better = replace(train, images=means.round().to(torch.uint8), labels=torch.arange(3))
    options = SelectionOptions(rule=rule, features="pixels")
    work = run(train=train, holdout=better, options=options, ipc=1)
    rows = rows_among(finished(SelectionObjective(work, Pool(work.folder))), train)
    assert train.labels[rows].tolist() == [0, 1, 2]


@pytest.mark.parametrize("method", ALIASES)
def test_a_set_begins_with_the_smaller_set_and_its_labels_are_the_classes(distilled, method):
    small = distilled("small", method=method, ipc=1)
    large = distilled("large", method=method, ipc=5)
    assert torch.equal(large.pixels(torch.arange(0, 50, 5)), small.pixels(torch.arange(10)))
    assert large.labels.kind == "hard"
    assert large.classes.tolist() == [label for label in range(10) for _ in range(5)]


@pytest.mark.parametrize("method", ALIASES)
def test_groups_give_the_set_of_one_run(distilled, method):
    rows = torch.arange(50)
    whole = distilled("whole", method=method, ipc=5).pixels(rows)
    assert torch.equal(distilled("parts", method=method, ipc=5, groups=3).pixels(rows), whole)


def test_the_rules_choose_differently_from_one_pool(distilled):
    rows = torch.arange(30)
    first = distilled("first", method="herding", ipc=3)
    second = distilled("second", method="k-center", ipc=3)
    assert not torch.equal(first.pixels(rows), second.pixels(rows))
    assert len(list(cache_folder("pools").iterdir())) == 1


def test_pixels_train_no_network_and_choose_otherwise(distilled):
    rows = torch.arange(20)
    pixels = distilled("pixels", "features=pixels", ipc=2).pixels(rows)
    assert not cache_folder("pools").exists()
    assert not torch.equal(distilled("network", ipc=2).pixels(rows), pixels)


def test_pixels_give_the_same_set_for_every_seed(distilled):
    rows = torch.arange(20)
    first, second = (
        distilled(f"{seed}", "features=pixels", ipc=2, seed=seed).pixels(rows) for seed in (0, 1)
    )
    assert torch.equal(first, second)


def test_the_same_seed_gives_the_same_bytes_with_a_pool_of_its_own_each(
    configured, tmp_path, monkeypatch
):
    artifacts = []
    for name in ("first", "second"):
        monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / f"cache of {name}"))
        artifact = pipeline.distill(configured(ipc=3, seed=7), tmp_path / name)
        artifacts.append(artifact.read_bytes())
    assert artifacts[0] == artifacts[1]


def test_images_come_back_from_zca_as_they_were(objective, distilled):
    data = {"space": "zca"}
    work = objective(ipc=2, data=data)
    chosen = torch.cat([work.chosen(label) for label in range(10)])
    found = distilled("zca", ipc=2, data=data)
    assert found.space.kind == "zca"
    pixels = stored(found.pixels(torch.arange(20)), "auto")
    assert torch.equal(pixels, work.run.train.images[chosen])


def test_teachers_of_another_method_are_good_for_it_the_last_of_them(
    configured, tmp_path, objective
):
    few = ("teachers=3", "train_epochs=1", "together=1")
    run = prepare(configured(*few, method="apm"), tmp_path / "apm")
    name = stage_pools.open_pool(run, "synthesis").folder.name
    work = objective("teachers=2", network=None, pool=name)
    assert work.members == [1, 2]
    artifact = pipeline.distill(configured(network=None, pool=name, ipc=2), tmp_path / "named")
    assert artifact.exists()
    assert len(list(cache_folder("pools").iterdir())) == 1


def test_experts_are_no_teachers_but_no_obstacle_to_pixels(configured, tmp_path):
    few = ("experts=1", "train_epochs=2", "max_start_epoch=1", "expert_epochs=1", "together=1")
    run = prepare(configured(*few, method="tesla"), tmp_path / "tesla")
    name = stage_pools.open_pool(run, "synthesis").folder.name
    with pytest.raises(DdkitError) as error:
        pipeline.distill(configured(network=None, pool=name), tmp_path / "refused")
    assert str(error.value) == (
        "features of networks need 1 of the role teacher (option 'teachers'), but the pool has "
        "0 (its members are expert): name another one (--pool, --pool-from), leave it out, or "
        "--set features=pixels"
    )
    assert not (tmp_path / "refused").exists()
    config = configured("features=pixels", network=None, pool=name)
    assert pipeline.distill(config, tmp_path / "pixels").exists()


def test_features_that_are_not_finite_are_refused(objective, monkeypatch):
    work = objective()
    monkeypatch.setattr(
        "ddkit_selection.objective.network_features",
        lambda run, pool, members, rows: torch.full((len(rows), 2), torch.nan),
    )
    with pytest.raises(DdkitError, match="features are not finite: lower"):
        work.initialise(work.shards()[0])


def test_a_stop_is_heard_between_classes(objective, monkeypatch):
    work = objective(ipc=2)
    chosen = work.chosen

    def then_ask(label):
        interrupt._requested.set()
        return chosen(label)

    monkeypatch.setattr(work, "chosen", then_ask)
    try:
        with pytest.raises(interrupt.Stopped):
            work.initialise(work.shards()[0])
    finally:
        interrupt._requested.clear()
    assert list(work._chosen) == [0]


def test_a_class_with_fewer_images_gives_all_of_them_and_repeats_the_first(run, make_split):
    train = make_split(each=4)
    options = SelectionOptions(features="pixels")
    work = run(train=train, options=options, ipc=6, short_classes="repeat")
    images = finished(SelectionObjective(work, Pool(work.folder))).view(3, 6, -1)
    for label in range(3):
        own = train.images[train.labels == label].flatten(1)
        assert {tuple(i.tolist()) for i in images[label, :4]} == {tuple(i.tolist()) for i in own}
    assert len(images.view(18, -1).unique(dim=0)) == 18

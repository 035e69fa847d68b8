"""Which runs a bench consists of, in which order, and what stands beside each."""

from pathlib import Path

import pytest
import torch

import ddkit as library
from ddkit import MethodOptions, SoftLabels, option
from ddkit.bench.cells import cells, companion, make_cell, pace_key, run_folder, run_key
from ddkit.bench.config import IMBALANCE
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.stages import Stage
from ddkit.pools.tasks import Member, MemberTask
from ddkit.synthesis.initial import initial_real


class Stepped(MethodOptions):
    steps_option = "rounds"
    rounds: int = option(7, "optimiser steps", ge=0)


@pytest.fixture
def soft(method):
    """Install a method with a pool of one network and soft labels from it."""

    def task(run, name="teacher"):
        def train(context):
            yield 0, Member(run.network(run.generator(name)).state_dict(), "teacher")

        return MemberTask(name, train)

    return method(
        "soft",
        build_pool=lambda run: [task(run)],
        relabel=lambda run, pool, images: SoftLabels(
            torch.nn.functional.one_hot(images.classes, len(run.classes)).float()
        ),
    )


def test_every_method_has_its_first_seed_before_any_has_its_second(config):
    made = cells(config("random", "herding", ipc=(1, 2), seeds=2))
    assert [(cell.seed, cell.ipc, cell.method) for cell in made] == [
        (seed, ipc, name) for seed in (0, 1) for ipc in (1, 2) for name in ("random", "herding")
    ]


def test_all_data_sets_have_their_first_seed_before_any_has_its_second(config):
    data = ["digits", {"name": "digits", "classes": "2"}]
    made = cells(config("random", data=data, seeds=2))
    assert [(cell.seed, cell.data) for cell in made] == [
        (seed, tag) for seed in (0, 1) for tag in ("digits", "digits-2classes")
    ]


def test_every_cell_is_a_run_of_its_own(config, folder):
    made = cells(config("random", "herding", ipc=(1, 2), seeds=2))
    assert len({run_key(cell.config) for cell in made}) == len(made)
    assert len({run_folder(folder, cell.config) for cell in made}) == len(made)


def test_a_cell_is_what_the_bench_says(config):
    (cell,) = cells(config("random", ipc=(3,), network="convnet:width=8"))
    assert cell.title == "random · digits · ipc 3 · seed 0"
    assert (cell.config.network, cell.config.threads, cell.config.device) == (
        "convnet:width=8",
        1,
        "cpu",
    )
    assert cell.about() == {"method": "random", "data": "digits", "ipc": 3, "seed": 0}


def test_distillation_seeds_share_a_pool(config, soft, tmp_path):
    first, second = cells(config(soft, seeds=2))
    assert (first.config.seed, second.config.seed) == (0, 1)
    folders = {
        Stage(prepare(cell.config, tmp_path), "synthesis").plan.folder for cell in (first, second)
    }
    assert len(folders) == 1


def test_a_budgets_steps_become_the_option_that_counts_them(config, method):
    method("stepped", method_config=lambda: Stepped)
    bench = config("stepped", "random", "apm", "teddy", "tesla")
    steps = {pace_key(name, bench.data[0], 1): 123 for name in ("stepped", "apm", "teddy", "tesla")}
    options = {cell.method: cell.config.options for cell in cells(bench, steps)}
    assert options["stepped"] == {"rounds": 123}
    assert options["apm"]["rounds"] == 123
    assert options["teddy"]["iterations"] == options["tesla"]["iterations"] == 123
    assert options["random"] == {}


def test_a_budgets_steps_win_over_those_that_were_said(config, method):
    method("stepped", method_config=lambda: Stepped)
    said = {"stepped": {"method": "stepped", "settings": ["rounds=2"]}}
    bench = config("stepped", variants=said)
    assert cells(bench)[0].config.options == {"rounds": 2}
    assert cells(bench, {pace_key("stepped", bench.data[0], 1): 5})[0].config.options["rounds"] == 5


def test_steps_are_those_of_a_method_data_and_ipc(config, method):
    method("stepped", method_config=lambda: Stepped)
    bench = config("stepped", ipc=(1, 2), seeds=2)
    made = cells(bench, {pace_key("stepped", bench.data[0], 2): 5})
    assert [(cell.ipc, cell.config.options["rounds"]) for cell in made] == [(1, 7), (2, 5)] * 2


def test_variants_of_a_method_are_cells_of_their_own(config, method):
    method("stepped", method_config=lambda: Stepped)
    variants = {
        "longer": {"method": "stepped", "settings": ["rounds=20"]},
        "wider": {"method": "stepped", "network": "convnet:width=8"},
    }
    plain, longer, wider = cells(config("stepped", "longer", "wider", variants=variants))
    assert [cell.method for cell in (plain, longer, wider)] == ["stepped", "longer", "wider"]
    assert (plain.config.options["rounds"], longer.config.options["rounds"]) == (7, 20)
    assert wider.config.network == "convnet:width=8"
    assert longer.config.network == plain.config.network


def test_tuning_sets_a_holdout_aside_where_none_is(config):
    data = ["digits", {"name": "digits", "classes": "5", "holdout": 0.3}]
    first, second = cells(config("random", data=data, tune=True))
    assert (first.config.data.holdout, second.config.data.holdout) == (0.1, 0.3)
    assert cells(config("random"))[0].config.data.holdout == 0


def test_the_imbalanced_task_draws_from_all_data_that_do_not_say_how(config):
    data = ["digits", {"name": "digits", "classes": "5", "imbalance": 0.6}]
    first, second = cells(config("random", data=data, task="imbalanced"))
    assert first.config.data.imbalance == IMBALANCE
    assert second.config.data.imbalance == (0.6, 1.0)


def test_random_images_with_hard_labels_are_one_run_for_all_methods(config, soft):
    made = cells(config(soft, "random", "herding", "teddy"))
    keys = {run_key(companion(cell.config, labelled=False)) for cell in made}
    assert len(keys) == 1


def test_random_images_in_another_input_space_are_another_run(config):
    data = ["digits", {"name": "digits", "space": "zca"}]
    made = cells(config("random", data=data))
    assert len({run_key(companion(cell.config, labelled=False)) for cell in made}) == 2


def test_a_labelled_companion_has_the_labels_and_the_pool_of_the_method(config, soft, folder):
    (cell,) = cells(config(soft, seeds=1))
    beside = companion(cell.config, labelled=True)
    theirs = library.load(pipeline.distill(cell.config, folder / "theirs"))
    ours = library.load(pipeline.distill(beside, folder / "ours"))
    assert ours.labels.kind == theirs.labels.kind == "soft"
    assert torch.equal(ours.labels.logits, theirs.labels.logits)
    assert len(list((Path(folder).parent / "cache" / "pools").glob("soft-*"))) == 1
    plain = initial_real(prepare(cell.config, folder))
    assert torch.allclose(ours.pixels(torch.arange(10)), plain, atol=1 / 255)


def test_a_companion_with_hard_labels_has_no_pool_and_no_protocol_of_the_methods(config, soft):
    (cell,) = cells(config(soft))
    changed = cell.config.model_copy(update={"protocol": {"lr": 5.0}})
    beside = companion(changed, labelled=False)
    assert (beside.plugin, beside.relabel_from, beside.pool_from) == ("random", None, None)
    assert beside.protocol == {}
    assert beside.seed == cell.seed


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("space", ["standard", "zca"])
def test_a_selection_beside_a_method_holds_exactly_the_chosen_images(
    config, soft, folder, labelled, space
):
    bench = config(soft, ipc=(2,), data=[{"name": "digits", "space": space}], selection="herding")
    (cell,) = cells(bench)
    chosen = make_cell(bench, "herding", cell.asked, cell.ipc, cell.seed, {})
    artifact = pipeline.distill(chosen.config, folder / "herding")
    beside = companion(cell.config, labelled=labelled, init=str(artifact))
    ours = library.load(pipeline.distill(beside, folder / "beside"))
    rows = torch.arange(20)
    assert torch.equal(ours.pixels(rows), library.load(artifact).pixels(rows))
    assert ours.labels.kind == ("soft" if labelled else "hard")


def test_what_stands_beside_a_cell_has_its_factor(config):
    """A selection and random images take as many bytes as the set, and hold as many images."""
    variants = {"packed": {"method": "dm", "factor": 2, "preset": "none"}}
    bench = config("packed", "random", variants=variants)
    packed, plain = cells(bench)
    assert (packed.factor, plain.factor) == (2, 1)
    assert companion(packed.config, labelled=False).factor == 2
    beside = make_cell(bench, "herding", packed.asked, 1, 0, {}, packed.factor)
    assert (beside.factor, beside.ipc) == (2, 1)

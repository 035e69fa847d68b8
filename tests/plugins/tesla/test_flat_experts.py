"""FTD: experts in flat minima against a loop by hand, and images that are an average."""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from ddkit_tesla.experts import experts, trajectories
from ddkit_tesla.objective import TeslaObjective

from ddkit import Run
from ddkit.distilled.dataset import load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.stages import pool_description
from ddkit.runtime.progress import Silent
from ddkit.runtime.tensors import TensorFile

FLAT = ("experts=1", "train_epochs=1", "max_start_epoch=1", "train_lr=0.05")
LATER = {"train_sharpness", "train_surrogate", "average", "min_start_epoch", "window", "choose"}
LATER |= {"window_steps", "skip_above", "momentum_labels", "label_start"}


@pytest.mark.parametrize("surrogate", [0.0, 0.5])
def test_each_step_of_a_flat_expert_is_gsams(tesla_run, surrogate):
    run = tesla_run(*FLAT, "train_sharpness=0.2", f"train_surrogate={surrogate}")
    pool = stage_pools.open_pool(run, "synthesis")
    network = run.network(run.generator("expert network", 0)).double()
    parameters = list(network.parameters())

    def slope(inputs, labels) -> torch.Tensor:
        loss = F.cross_entropy(network(inputs.double()), labels)
        return torch.nn.utils.parameters_to_vector(torch.autograd.grad(loss, parameters))

    for inputs, labels in experts(run).batches(0, 0):
        theta = torch.nn.utils.parameters_to_vector(parameters).detach()
        plain = slope(inputs, labels)
        reached = theta + 0.2 * theta**2 * plain / (theta.abs() * plain).norm()
        torch.nn.utils.vector_to_parameters(reached, parameters)
        sharp = slope(inputs, labels)
        across = plain - (plain @ sharp) * sharp / sharp.norm() ** 2
        moved = theta - 0.05 * (sharp - surrogate * across)
        torch.nn.utils.vector_to_parameters(moved, parameters)
    first, last = (pool.state(index) for index in trajectories(pool)[0])
    for name, tensor in network.state_dict().items():
        way = (last[name] - first[name]).norm()
        assert (last[name] - tensor).norm() < 1e-3 * way + 1e-6, name


def test_flat_experts_are_a_pool_of_their_own_and_plain_ones_the_pool_they_were(tesla_run):
    plain, flat = (tesla_run(*more) for more in ((), ("train_sharpness=0.01",)))
    found = [pool_description(run, run.config.pool_stage("synthesis")) for run in (plain, flat)]
    assert not LATER & found[0]["options"].keys()
    assert found[0]["options"] | {"train_sharpness": 0.01} == found[1]["options"]
    assert not LATER & plain.config.options.keys()
    other = tesla_run("average=0.5", "skip_above=2", "choose=correct")
    assert pool_description(other, other.config.pool_stage("synthesis")) == found[0]


def images_of(run: Run, folder: str, synthesised, **options) -> list[torch.Tensor]:
    """Return the images at the start and after each step, as snapshots and the end show them."""
    file = synthesised(run, folder, snapshot_every=1, **options)
    paths = sorted(run.folder.with_name(folder).glob("snapshots/*/*.safetensors"))
    shown = [TensorFile(path)["images"] for path in paths]
    assert torch.equal(shown[-1], file["images"])
    return [file["initial"], *shown]


@pytest.mark.parametrize("more", [(), ("batch_syn=3", "student_steps=2")])
def test_snapshots_and_the_end_are_the_average_of_the_images(tesla_run, synthesised, more):
    settings = ("experts=1", "labels=hard", "iterations=4", "lr_images=100", *more)
    plain = images_of(tesla_run(*settings), "plain", synthesised)
    run = tesla_run(*settings, "average=0.7")
    found = images_of(run, "average", synthesised)
    objective = TeslaObjective(run, stage_pools.open_pool(run, "synthesis"))
    shard = objective.shards()[0]
    average = plain[0].double()
    for step, (image, shown) in enumerate(zip(plain[1:], found[1:], strict=True)):
        drawn = objective.draw(shard, step).get("images", torch.arange(10))
        average[drawn] = 0.7 * average[drawn] + 0.3 * image[drawn].double()
        torch.testing.assert_close(shown.double(), average, rtol=0, atol=1e-5)
    assert (found[-1] - plain[-1]).abs().max() > 1e-2


@pytest.mark.parametrize("more", [(), ("batch_syn=3", "student_steps=2")])
def test_a_killed_run_ends_in_the_same_average(tesla_run, synthesised, monkeypatch, more):
    run = tesla_run("experts=1", "iterations=4", "average=0.7", *more)
    whole = synthesised(run, "whole", checkpoint_seconds=0).read()
    plain = TeslaObjective.loss
    with monkeypatch.context() as patch, suppress(RuntimeError):

        def killed(self, shard, leaves, step):
            if step == 2:
                raise RuntimeError("killed")
            return plain(self, shard, leaves, step)

        patch.setattr(TeslaObjective, "loss", killed)
        synthesised(run, "killed", checkpoint_seconds=0)
    assert list(run.folder.with_name("killed").rglob("*.checkpoint.safetensors"))
    resumed = synthesised(run, "killed", checkpoint_seconds=0).read()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_a_step_with_an_average_keeps_to_a_budget(tesla_run, synthesised):
    settings = ("experts=1", "train_epochs=1", "max_start_epoch=1", "augmentation=none")
    common = {"network": "convnet:depth=2:width=4", "ipc": 3}
    settings = (*settings, "batch_syn=20", "average=0.9")
    peak = synthesised(tesla_run(*settings, **common), "plain").metadata["peak_bytes"]
    run = tesla_run(*settings, **common, memory_budget=peak)
    assert synthesised(run).metadata["peak_bytes"] <= peak


class Notes(Silent):
    def __init__(self):
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(
    ("average", "iterations", "said"),
    [("0.999", 100, "90% of each image is still the initial one"), ("0.99", 100, ""), ("0", 3, "")],
)
def test_an_average_that_stays_at_the_initial_images_is_pointed_out(
    tesla_run, average, iterations, said
):
    from ddkit_tesla.checking import check_run

    run = tesla_run(f"average={average}", f"iterations={iterations}")
    notes = Notes()
    check_run(replace(run, progress=notes))
    assert len(notes.said) == bool(said)
    assert said in "".join(notes.said)


def test_ftd_distils_in_one_command_and_stands_for_tesla(tesla_run):
    small = ("experts=1", "train_epochs=2", "max_start_epoch=1", "expert_epochs=1", "together=1")
    run = tesla_run(*small, "student_steps=2", "iterations=2", method="ftd")
    asked = {"train_sharpness": 0.01, "train_surrogate": 1.0, "average": 0.999, "labels": "hard"}
    assert {name: run.config.options[name] for name in asked} == asked
    distilled = load(pipeline.distill(run.config, run.folder))
    assert distilled.labels.kind == "hard"
    assert distilled.learning_rate > 0

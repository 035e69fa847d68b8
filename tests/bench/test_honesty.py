"""Nothing that a method does is chosen on the test split, or changes how it is measured."""

import json

import pytest
import torch

from ddkit import DdkitError, MethodOptions, SoftLabels
from ddkit.bench.harness import Harness
from ddkit.data.sources import load as sources
from ddkit.evaluation import accuracy as evaluation
from ddkit.evaluation.result import Evaluation
from ddkit.pools.tasks import Member, MemberTask

WAYS = {
    "sources.load": lambda run: sources.load(run.config.data, "test"),
    "open_test": evaluation.open_test,
}


class Cheat:
    """A method that opens the test split at one place and counts how often it got it."""

    def __init__(self, place: str, way: str, fading):
        self.place, self.way, self.fading = place, WAYS[way], fading
        self.tried = self.got = 0

    def at(self, place: str, run) -> None:
        if place == self.place:
            self.tried += 1
            self.way(run)
            self.got += 1

    def pool(self, run):
        self.at("build_pool", run)

        def train(context):
            self.at("a pool's task", run)
            yield 0, Member(run.network(run.generator("member")).state_dict(), "teacher")

        return [MemberTask("teacher", train)]

    def objective(self, run, pool):
        cheat = self
        cheat.at("synthesis_loss", run)

        class Objective(self.fading):
            def initialise(self, shard):
                cheat.at("initialise", run)
                return super().initialise(shard)

            def loss(self, shard, leaves, step):
                cheat.at("loss", run)
                return super().loss(shard, leaves, step)

            def decode(self, shard, leaves):
                cheat.at("decode", run)
                return super().decode(shard, leaves)

        return Objective(run)

    def relabel(self, run, pool, images):
        self.at("relabel", run)
        return SoftLabels(torch.eye(len(run.classes)))

    def hooks(self):
        return {
            "check": lambda run: self.at("check", run),
            "build_pool": lambda run: self.pool(run),
            "synthesis_loss": lambda run, pool: self.objective(run, pool),
            "relabel": lambda run, pool, images: self.relabel(run, pool, images),
        }


PLACES = (
    "check",
    "build_pool",
    "a pool's task",
    "synthesis_loss",
    "initialise",
    "loss",
    "decode",
    "relabel",
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_no_hook_opens_the_test_split(bench, method, fading, place, way):
    cheat = Cheat(place, way, fading)
    done = bench("random", method(**cheat.hooks()))
    assert cheat.tried > 0
    assert cheat.got == 0
    (line,) = done.failed
    assert line.startswith("toy · digits · ipc 1 · seed 0: the test split is closed")
    assert [row.method for row in done.rows()] == ["random"]


def test_the_test_split_is_closed_after_it_was_opened_for_another_cell(bench, method, fading):
    cheat = Cheat("loss", "sources.load", fading)
    done = bench("random", method(**cheat.hooks()), real=True, seeds=2)
    assert cheat.got == 0
    assert len(done.failed) == 2


@pytest.mark.parametrize("place", ["check", "a pool's task", "loss"])
def test_a_measurement_of_pace_keeps_it_closed(config, method, fading, folder, place):
    cheat = Cheat(place, "sources.load", fading)

    class Stepped(MethodOptions):
        steps_option = "rounds"
        rounds: int = 3

    name = method(**{**cheat.hooks(), "method_config": lambda: Stepped})
    with pytest.raises(DdkitError, match="the test split is closed"):
        Harness(config(name, budget_minutes=1), folder).run()
    assert cheat.got == 0


def test_a_method_that_does_nothing_is_exactly_random(bench, method, fading):
    class Nothing(fading):
        steps = 0

    name = method(synthesis_loss=lambda run, pool: Nothing(run))
    done = bench(name, seeds=3, epochs=20, protocols=("dsa", "plain", "own"))
    assert len(done.rows()) == 3
    for row in done.rows():
        assert row.over_random == 0
        assert row.accuracy == row.random
        assert row.p_random == 1


def test_a_method_that_only_labels_is_exactly_random_with_its_labels(bench, method, fading):
    class Nothing(fading):
        steps = 0

    name = method(
        synthesis_loss=lambda run, pool: Nothing(run),
        relabel=lambda run, pool, images: SoftLabels(
            2 * torch.nn.functional.one_hot(images.classes, len(run.classes)).float()
        ),
    )
    (row,) = bench(name, seeds=2, epochs=20, protocols=("own",)).rows()
    assert row.labels == "soft"
    assert row.over_random == 0


def perfect(run, distilled, network, seeds) -> Evaluation:
    return Evaluation(tuple(1.0 for _ in seeds), network, "magic", "hard", 0.01, 0.0)


def test_a_methods_own_evaluation_changes_no_figure(bench, method):
    done = bench(
        method("honest"), method("boastful", evaluate=perfect), epochs=20, protocols=("dsa", "own")
    )
    figures = {(row.method, row.protocol): row.accuracy for row in done.rows()}
    for protocol in ("dsa", "own"):
        assert figures["boastful", protocol] == figures["honest", protocol]
        assert figures["boastful", protocol].mean < 0.9


def test_a_methods_own_protocol_may_open_it_where_it_is_asked_for(method, bench, called):
    opened = []

    def evaluate(run, distilled, network, seeds):
        opened.append(len(sources.load(run.config.data, "test")))
        opened.append(len(evaluation.open_test(run)))
        return perfect(run, distilled, network, seeds)

    done = bench(method(evaluate=evaluate))
    assert opened == []
    (entry,) = [e for e in done.store.all("set") if e.result["config"]["method"] == "toy"]
    path = str(done.folder / entry.result["folder"])
    code, out, err = called(
        "evaluate",
        path,
        "--own",
        "--protocols",
        "dsa",
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--no-random",
        "--no-real",
        "--json",
    )
    assert code == 0, err
    assert opened == [355, 355]
    own = [row for row in json.loads(out) if row["own"]]
    assert [row["accuracies"] for row in own] == [[1.0]]

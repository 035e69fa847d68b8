"""What a bench asks for is done once, whatever was done before; what fails spoils nothing else."""

from contextlib import ExitStack

import pytest
import torch

from ddkit import DdkitError
from ddkit.bench import harness
from ddkit.bench.cells import cells, run_folder
from ddkit.bench.harness import Harness
from ddkit.config import load_config
from ddkit.data.sources import load as sources
from ddkit.pipeline import evaluate as comparison
from ddkit.runtime import interrupt
from ddkit.runtime.files import locked
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.progress import Silent


class Notes(Silent):
    """Keeps what was noted."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def failing(error: Exception):
    def build(run, pool):
        raise error

    return build


def test_everything_that_is_asked_for_is_stored(bench, method):
    done = bench(
        "random",
        method(),
        seeds=2,
        selection="herding",
        real=True,
        protocols=("dsa", "plain", "own"),
    )
    assert done.failed == []
    assert len(done.store.all("cell")) == 4
    figures = done.store.all("figure")
    assert len(figures) == 4 * (3 + 2 + 3)  # the selection has no figure under plain
    for entry in figures:
        assert len(entry.result["evaluation"]["accuracies"]) == 2
    (real,) = done.store.all("real")
    assert len(real.result["evaluation"]["accuracies"]) == 2
    for entry in done.store.all("set"):
        assert (done.folder / entry.result["folder"] / "distilled.safetensors").exists()
    (about,) = done.store.all("bench")
    assert about.about["methods"] == ["random", "toy"]
    assert about.result["torch"] == torch.__version__


def test_its_figures_are_those_of_the_evaluation_of_one_set(bench, method, config, monkeypatch):
    done = bench(method(), seeds=2, epochs=20)
    monkeypatch.setenv("DDKIT_CACHE", str(done.folder / "another cache"))
    cell = next(e for e in done.store.all("set") if e.about["seed"] == 1)
    ours, random = comparison.compare(
        done.folder / cell.result["folder"] / "distilled.safetensors",
        protocols=["dsa"],
        networks=config().networks,
        seeds=range(2),
        recipe={"epochs": 20},
        real=False,
        progress=Silent(),
    )
    for row, role in ((ours, "set"), (random, "random")):
        reached = done.figure(role, seed=1)["evaluation"]["accuracies"]
        assert tuple(reached) == row.evaluation.accuracies


def test_a_second_start_trains_nothing_and_opens_no_data(bench, method, work, monkeypatch):
    wanted = {"seeds": 2, "selection": "herding", "real": True, "protocols": ("dsa", "own")}
    name = method()
    first = bench("random", name, **wanted)
    before, known = first.accuracies(), first.store.all("cell")
    work.clear()
    monkeypatch.setattr(sources, "load", lambda *args, **options: pytest.fail("data were opened"))
    done = bench("random", name, **wanted)
    assert not work
    assert done.failed == []
    assert done.accuracies() == before
    assert done.store.all("cell") == known  # with the seconds that they took


def test_more_evaluation_seeds_train_the_new_ones_only(bench, method, work):
    name = method()
    before = bench(name, real=True).accuracies()
    work.clear()
    after = bench(name, real=True, evaluation_seeds=4).accuracies()
    assert work.distilled == []
    assert set(work.trained) == {
        (name, seed) for name in ("all real data", "dsa") for seed in (2, 3)
    }
    assert len(work.trained) == 3 * 2  # the set, random images, all real data
    assert {key: accuracies[:2] for key, accuracies in after.items()} == before


def test_later_evaluation_seeds_are_those_of_a_bench_that_had_all_at_once(
    bench, folder, method, monkeypatch
):
    name = method()
    bench(name, evaluation_seeds=1, epochs=20)
    split = bench(name, evaluation_seeds=3, epochs=20).accuracies()
    folder.rename(folder.with_name("first"))
    monkeypatch.setenv("DDKIT_CACHE", str(folder / "another cache"))
    assert bench(name, evaluation_seeds=3, epochs=20).accuracies() == split


def test_fewer_evaluation_seeds_need_nothing(bench, method, work):
    name = method()
    bench(name, evaluation_seeds=3)
    work.clear()
    bench(name, evaluation_seeds=1)
    assert not work


def test_a_method_added_later_leaves_the_finished_cells_alone(bench, method, work):
    bench("random", method("first"), seeds=2)
    before = bench("random", "first", seeds=2).accuracies()
    work.clear()
    after = bench("random", "first", method("second"), seeds=2).accuracies()
    assert work.distilled == ["second 0", "second 1"]
    assert work.trained == [("dsa", 0), ("dsa", 1)] * 2
    assert before.items() < after.items()


def test_another_protocol_network_or_seed_adds_to_what_is_there(bench, method, work):
    name = method()
    bench(name)
    work.clear()
    networks = ("convnet:depth=1:width=4", "convnet:depth=1:width=2")
    bench(name, protocols=("dsa", "plain"), networks=networks, seeds=2)
    assert work.distilled == [f"{name} 1", "random 1"]
    assert len(work.trained) == 2 * (3 * 2 + 4 * 2)  # three more of seed 0, four of seed 1


@pytest.mark.parametrize("error", [DdkitError("the pool is\nempty"), ValueError("a\nbug")])
def test_a_cell_that_fails_is_noted_and_the_others_finish(bench, method, error):
    method("broken", synthesis_loss=failing(error))
    done = bench("broken", "random", method("fine"), seeds=2)
    assert len(done.failed) == 2
    assert done.failed[0].startswith("broken · digits · ipc 1 · seed 0: ")
    assert not any("\n" in line for line in done.failed)
    errors = {e.about["method"]: e.error for e in done.store.all("cell") if e.error}
    assert list(errors) == ["broken"]
    assert [row.method for row in done.rows()] == ["random", "fine"]


def test_what_fails_in_a_known_way_keeps_its_line_and_no_traceback(bench, method):
    done = bench(method(synthesis_loss=failing(DdkitError("the pool is empty"))))
    assert done.failed == ["toy · digits · ipc 1 · seed 0: the pool is empty"]
    assert not (done.folder / "failures").exists()


def test_a_bug_keeps_its_traceback_for_who_mends_it(bench, method):
    done = bench(method(synthesis_loss=failing(ZeroDivisionError())))
    (path,) = (done.folder / "failures").iterdir()
    assert done.failed == [f"toy · digits · ipc 1 · seed 0: ZeroDivisionError; see {path}"]
    text = path.read_text()
    assert text.startswith("Traceback")
    assert "in build" in text


def test_what_failed_is_tried_again_by_the_next_start(bench, method, fading, work):
    method("broken", synthesis_loss=failing(DdkitError("not today")))
    assert len(bench("random", "broken").failed) == 1
    work.clear()
    method("broken", synthesis_loss=lambda run, pool: fading(run))
    done = bench("random", "broken")
    assert done.failed == []
    assert work.distilled == ["broken 0", "random 0"]
    assert all(entry.error is None for entry in done.store.all("cell"))


def test_a_failure_in_what_is_no_longer_asked_for_is_no_failure(bench, method):
    def refuse(run, pool, images):
        if run.config.method == "random":  # the companion with this method's labels
            raise DdkitError("no labels for random images")
        from ddkit import SoftLabels

        return SoftLabels(torch.eye(len(run.classes)))

    name = method(relabel=refuse)
    assert len(bench(name, protocols=("dsa", "own")).failed) == 1
    assert bench(name, protocols=("dsa",)).failed == []
    assert len(bench(name, protocols=("dsa", "own")).failed) == 1


def test_a_cell_that_another_process_is_at_is_left_to_it(config, folder, monkeypatch, method):
    monkeypatch.setattr(harness, "POLL_SECONDS", 0.01)
    wanted = config("random", method())
    first, second = cells(wanted)

    class Releasing(Notes):
        def note(self, text):
            super().note(text)
            if text == second.title:
                other.close()

    with ExitStack() as other:
        other.enter_context(locked(folder / "locks" / harness.cell_key(wanted, first), "the cell"))
        notes = Releasing()
        assert Harness(wanted, folder, notes).run() == []
    assert notes.texts == [second.title, first.title]


def artifact(done, method: str):
    (entry,) = [e for e in done.store.all("set") if e.result["config"]["method"] == method]
    return done.folder / entry.result["folder"] / "distilled.safetensors"


def test_a_deleted_set_is_made_again_when_it_is_needed_and_a_note_says_so(
    bench, method, config, folder, work
):
    name = method()
    path = artifact(bench(name), name)
    before = path.read_bytes()
    path.unlink()
    work.clear()
    notes = Notes()
    assert Harness(config(name), folder, notes).run() == []
    assert not path.exists()  # nothing is left to be trained on it
    assert not work
    assert Harness(config(name, evaluation_seeds=3), folder, notes).run() == []
    assert path.read_bytes() == before
    assert work.distilled == [f"{name} 0"]
    assert work.trained == [("dsa", 2)] * 2
    assert f"{path} is gone: it is made again" in notes.texts


def test_a_folder_of_runs_that_is_gone_is_made_again(bench, method, work):
    import shutil

    name = method()
    done = bench(name)
    before = artifact(done, name).read_bytes()
    shutil.rmtree(done.folder / "runs")
    work.clear()
    assert bench(name, evaluation_seeds=3).failed == []
    assert sorted(work.distilled) == ["random 0", f"{name} 0"]
    assert artifact(done, name).read_bytes() == before


def test_a_finished_run_without_an_entry_is_found(bench, method, config, folder, work):
    name = method()
    done = bench(name)
    path, before = artifact(done, name), done.accuracies()
    done.store.path.unlink()
    began = path.stat().st_mtime_ns
    assert bench(name).accuracies() == before
    assert path.stat().st_mtime_ns == began


def test_a_request_to_stop_keeps_what_is_done(bench, method, fading, work):
    def build(run, pool):
        if run.config.seed == 1:
            interrupt._requested.set()
        return fading(run)

    name = method(synthesis_loss=build)
    with pytest.raises(Stopped):
        bench(name, seeds=2)
    interrupt._requested.clear()
    assert work.trained == [("dsa", 0), ("dsa", 1)] * 2
    work.clear()
    method(synthesis_loss=lambda run, pool: fading(run))
    done = bench(name, seeds=2)
    assert work.distilled == [f"{name} 1", "random 1"]
    assert done.store.get("cell", done.store.all("cell")[1].key).error is None


def test_what_is_wrong_with_a_method_leaves_no_folder(config, method, folder):
    variants = {"apm": {"method": "apm", "settings": ["nonsense=1"]}}
    with pytest.raises(DdkitError, match="nonsense"):
        Harness(config("random", "apm", variants=variants), folder).run()
    assert not folder.exists()
    variants = {"herding": {"method": "herding", "settings": ["nonsense=1"]}}
    with pytest.raises(DdkitError, match="nonsense"):
        Harness(config("random", selection="herding", variants=variants), folder).run()
    assert not folder.exists()


def test_two_seeds_train_one_pool(bench, method, fading):
    from ddkit.pools.tasks import Member, MemberTask

    trained = []

    def train(context, run):
        trained.append(run.config.seed)
        yield 0, Member(run.network(run.generator("member")).state_dict(), "teacher")

    name = method(
        build_pool=lambda run: [MemberTask("one", lambda context: train(context, run))],
        synthesis_loss=lambda run, pool: fading(run),
    )
    assert bench(name, seeds=3).failed == []
    assert trained == [0]


def test_runs_lie_where_their_names_say(bench, method, config):
    done = bench(method())
    entry = done.store.all("set")[0]
    found = load_config(done.folder / entry.result["folder"] / "config.toml")
    assert run_folder(done.folder, found) == done.folder / entry.result["folder"]
    assert entry.result["folder"].startswith("runs/toy-digits-ipc1-seed0-")

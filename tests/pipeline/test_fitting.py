"""`--minutes`: what is lowered, in which order and how far, against times reckoned by hand."""

import pytest

from ddkit import DdkitError
from ddkit.methods.plugin import options_model
from ddkit.pipeline import fitting
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.fitting import Pace, as_asked, begun_as, shortened
from ddkit.pipeline.plan import NOTHING, Plan
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.progress import Silent

DATA = Data(2560, 10, (3, 16, 16))  # ten batches of 256
METHODS = ("teddy", "tesla", "apm", "dc", "dm", "herding")


def asked(method="tesla", *settings, **common):
    flags = {"ipc": 1, "device": "cpu", "threads": 1, "minutes": 30.0, **common}
    return resolve(Request(method, flags, {"name": "cifar10"}, settings, "none"))


def pace(config, pools=(1000.0,), synthesis=1000.0, relabel=0.0):
    plan = Plan(sum(pools), synthesis, relabel, 0, 0, 0, 0, NOTHING, 1, 1, pools, {})
    return Pace(config, plan, DATA)


def test_a_run_that_fits_stays_as_it_is():
    config = asked()
    assert shortened(pace(config), 2000) == config


def test_what_costs_least_is_lowered_first_and_no_further_than_it_must():
    fitted = shortened(pace(asked()), 1500)  # 1000 s are 100 experts of 50 epochs
    assert fitted.options["experts"] == 50
    assert fitted.fitted == {"synthesis.experts": 100}


def test_when_the_first_is_at_its_least_the_next_follows():
    fitted = shortened(pace(asked()), 600)  # 10 experts: 100 s; so 500 s for 10,000 iterations
    assert (fitted.options["experts"], fitted.options["iterations"]) == (10, 5000)
    assert fitted.options["train_epochs"] == 50


def test_what_must_fit_together_is_lowered_together():
    fitted = shortened(pace(asked(), synthesis=0.0), 50)  # 10 experts of 25 epochs
    assert (fitted.options["experts"], fitted.options["train_epochs"]) == (10, 25)
    assert fitted.options["max_start_epoch"] == 10  # of 20 out of 50 epochs
    assert fitted.options["iterations"] == 10_000  # which would not help
    assert fitted.fitted["synthesis.max_start_epoch"] == 20


def test_the_labels_of_another_method_are_lowered_too():
    flags = {"ipc": 1, "device": "cpu", "minutes": 1.0}
    sources = {"relabel": "teddy"}
    config = resolve(Request("random", flags, {"name": "cifar10"}, preset="none", sources=sources))
    assert config.relabel_from is not None
    fitted = shortened(pace(config, pools=(), synthesis=0.0, relabel=300.0), 100.0)
    assert fitted.relabel_from is not None
    assert fitted.relabel_from.options["label_epochs"] == 100
    assert fitted.fitted == {"relabel.label_epochs": 300}
    assert as_asked(fitted) == config


def test_less_than_the_least_is_refused():
    with pytest.raises(
        DdkitError, match=r"--minutes 30: even with the least of everything .* minutes"
    ):
        shortened(pace(asked()), 0.5)


@pytest.mark.parametrize("method", METHODS)
def test_the_least_of_everything_is_a_run_that_the_method_takes(method):
    config = asked(method)
    pools = () if method in ("dc", "dm") else (1000.0,)
    synthesis = 0.0 if method == "herding" else 1000.0
    ladder = options_model(config.plugin).shorter
    least = config
    for name, value in ladder:
        if least.options.get(name, 0) > value:
            least = fitting.lowered(least, "synthesis", name, value)
    tried = pace(config, pools, synthesis)
    assert shortened(tried, tried.seconds(least)).fitted  # it fits, and just so
    assert as_asked(least) == config
    with pytest.raises(DdkitError, match="least of everything"):
        shortened(tried, 0.99 * tried.seconds(least))


def test_the_same_words_go_on_with_what_was_chosen(tmp_path):
    config = asked()
    fitted = shortened(pace(config), 600)
    fitted.save(tmp_path / "config.toml")
    assert begun_as(config, tmp_path) == fitted
    assert begun_as(config.model_copy(update={"seed": 1}), tmp_path) is None
    assert begun_as(config, tmp_path / "elsewhere") is None


def test_a_run_without_minutes_says_nothing_of_them():
    config = asked(minutes=None)
    assert "minutes" not in config.to_toml()
    assert "fitted" not in config.to_toml()


def test_the_time_of_the_rehearsal_counts(monkeypatch):
    config = asked(minutes=10.0)
    clock = iter([0.0, 300.0])
    monkeypatch.setattr(fitting.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(fitting, "plan", lambda config, data, progress: pace(config).found)
    fitted = fitting.fit(config, DATA, Silent())  # 300 s are left, of which 240 may be filled
    assert fitted.options["experts"] == 10
    assert fitted.options["iterations"] == 1400

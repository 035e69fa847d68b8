"""`ddkit.distill` and `ddkit.evaluate`: the words of the commands, and manners in a program."""

import inspect
import signal
import threading
from typing import Any, Literal, get_args, get_origin

import click
import pytest
import torch
from ddkit_cli.commands.distill import distill
from ddkit_cli.commands.evaluate import evaluate

import ddkit
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.evaluate import compare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.arithmetic import OPERATIONS
from ddkit.runtime.progress import Silent

NETWORKS = ["convnet:depth=1:width=2", "convnet:depth=1:width=4"]
SHOWN_BY = {"as_json", "quiet"}  # how a command shows what a function returns
COMMANDS = [(ddkit.distill, distill), (ddkit.evaluate, evaluate)]


@pytest.mark.parametrize(("function", "command"), COMMANDS, ids=["distill", "evaluate"])
def test_a_function_takes_the_flags_of_its_command_and_no_others(function, command):
    flags = {flag.name for flag in command.params} - SHOWN_BY
    assert set(inspect.signature(function).parameters) == flags | {"progress"}


@pytest.mark.parametrize(("function", "command"), COMMANDS, ids=["distill", "evaluate"])
def test_what_a_command_says_unasked_is_the_default_of_its_function(function, command):
    unsaid = command.make_context("ddkit", ["run"] if function is ddkit.evaluate else []).params
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in ("artifact", "progress"):
            assert unsaid[name] in (None, ()) or unsaid[name] == (parameter.default or 0), name


def test_distill_shows_and_explains_every_flag_of_a_run_with_its_default():
    shown = inspect.signature(ddkit.distill)
    assert list(shown.parameters)[:4] == ["method", "data", "ipc", "preset"]
    assert [shown.parameters[name].default for name in ("ipc", "seed", "network")] == [1, 0, None]
    explained = inspect.getdoc(ddkit.distill)
    for flag in distill.params:
        assert flag.name in SHOWN_BY or f"    {flag.name}: {flag.help}" in explained
    assert "seed: the distillation seed; default: 0" in explained


def test_a_word_that_is_no_flag_is_an_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'sed'"):
        ddkit.distill(sed=1)


@pytest.mark.parametrize(("function", "command"), COMMANDS, ids=["distill", "evaluate"])
def test_a_function_offers_the_choices_of_its_command(function, command):
    def choices(hint: Any) -> set[str]:
        if get_origin(hint) is Literal:
            return set(get_args(hint))
        return {choice for part in get_args(hint) for choice in choices(part)}

    parameters = inspect.signature(function).parameters
    for flag in command.params:
        offered = set(flag.type.choices) if isinstance(flag.type, click.Choice) else set()
        if flag.name not in SHOWN_BY:
            assert choices(parameters[flag.name].annotation) == offered, flag.name


def test_a_call_ends_in_the_bytes_of_the_run_that_its_words_stand_for(distilled, words, tmp_path):
    found = distilled()
    config = resolve(
        Request(
            "dm",
            {name: words[name] for name in ("ipc", "network", "threads")},
            {"name": "tiny"},
            ["updates=6", "batch_real=4"],
            "none",
        )
    )
    same = pipeline.distill(config, tmp_path / "same")
    assert found.file.path == tmp_path / "run" / "distilled.safetensors"
    assert found.file.path.read_bytes() == same.read_bytes()


def test_settings_reach_the_stage_that_their_key_names(distilled):
    found = distilled(
        relabel_from="teddy",
        settings={
            "updates": 1,
            "relabel.labels": "image",
            "relabel.first": 1,
            "relabel.last": 1,
            "relabel.unit": "step",
        },
    )
    assert found.config["options"]["updates"] == 1
    assert found.config["relabel_from"]["options"]["labels"] == "image"
    assert found.labels.kind == "soft"


def test_words_that_do_not_fit_are_one_line(distilled):
    with pytest.raises(ddkit.DdkitError, match="unknown option 'updatez': did you mean 'updates'"):
        distilled(settings={"updatez": 3})
    with pytest.raises(ddkit.DdkitError, match="with --ipc it would be a different run"):
        ddkit.distill(config="run", ipc=1)
    with pytest.raises(ddkit.DdkitError, match="--seeds must be 1 or more"):
        ddkit.evaluate("run", seeds=0)


def test_nothing_is_printed_unasked(distilled, capfd):
    ddkit.evaluate(distilled(), seeds=1, epochs=1, real=False)
    assert capfd.readouterr() == ("", "")


def test_bars_are_drawn_when_asked_for(distilled, capfd):
    distilled(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "synthesis" in err


def test_torch_and_signals_are_as_the_caller_had_them(distilled, monkeypatch):
    def of_the_caller(number: int, frame: Any) -> None: ...

    before = signal.signal(signal.SIGTERM, of_the_caller)
    interrupt = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    rounded = [operation.fp32_precision for operation in OPERATIONS]
    try:
        ddkit.evaluate(
            distilled(threads=2, precision="fp32"), seeds=1, epochs=1, real=False, precision="tf32"
        )
        with pytest.raises(ddkit.DdkitError, match="fewer than --ipc 50"):
            distilled("other", ipc=50, threads=2)
        assert signal.getsignal(signal.SIGTERM) is of_the_caller
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGINT) is interrupt
    assert torch.get_num_threads() == 1
    assert not torch.backends.cudnn.deterministic
    assert [operation.fp32_precision for operation in OPERATIONS] == rounded


def test_ctrl_c_keeps_what_is_done_and_the_same_call_goes_on(distilled, reports, tmp_path):
    def interrupt(step: int) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="what was done is kept"):
        distilled(progress=reports(interrupt))
    assert list((tmp_path / "run").glob("shards/*.checkpoint.safetensors"))
    seen: list[int] = []
    found = distilled(progress=reports(seen.append))
    assert seen == [3, 4, 5, 6]
    assert found.file.path.read_bytes() == distilled("whole").file.path.read_bytes()


def test_calls_outside_the_main_thread_leave_signals_alone(distilled):
    found = []
    thread = threading.Thread(target=lambda: found.append(distilled()))
    thread.start()
    thread.join()
    assert len(found[0]) == 6


def test_a_comparison_has_the_rows_of_the_command_and_shows_them(distilled):
    found = distilled()
    rows = ddkit.evaluate(
        found, protocols="plain", networks=NETWORKS, seeds=2, epochs=2, real=False
    )
    same = compare(
        found.file.path,
        protocols=["plain"],
        networks=NETWORKS,
        seeds=range(2),
        progress=Silent(),
        recipe={"epochs": 2},
        real=False,
    )
    assert rows == same
    assert [row.title for row in rows] == ["dm", "random real images"] * 2
    text, html = repr(rows), rows._repr_html_()
    for row in rows:
        assert f"{100 * row.evaluation.mean:.1f} ± {100 * row.evaluation.std:.1f} %" in text
        assert f"<td>{row.evaluation.network}</td>" in html


def test_what_users_name_is_no_html(distilled):
    rows = ddkit.evaluate(distilled("<b>"), seeds=1, epochs=1, random=False, real=False)
    assert "<b>" not in rows._repr_html_()
    assert "&lt;b&gt;" in rows._repr_html_()

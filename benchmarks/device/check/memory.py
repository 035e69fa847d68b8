"""Budgets hold, in bfloat16 too; and memory that is not there is said in one line."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from unittest.mock import patch

import torch

from benchmarks.device.check.checking import checked, demand
from benchmarks.device.check.runs import METHODS, config_of, data, distilled, own_cache
from benchmarks.device.parts import Bench
from ddkit.runtime.cost import read_cost
from ddkit.runtime.sizes import readable

WIDE = "convnet:width=128"
BUDGETED = {"Teddy": ("bf16", WIDE + ":norm=batch"), "TESLA": ("tf32", WIDE), "APM": ("tf32", WIDE)}
SPARE = 8 * 2**20  # bytes that are left where there shall be too few


def budgets_hold(name: str, bench: Bench) -> str:
    """Check that a run in the arithmetic it is fast in keeps to half of what it takes freely."""
    precision, network = BUDGETED[name]
    how = {"precision": precision, "network": network, "ipc": 20}
    free = peak_of(bench, name, **how)
    budget = int(0.6 * free)
    kept = peak_of(bench, name, **how, memory_budget=budget)
    said = f"{readable(free)} without a budget, {readable(kept)} of {readable(budget)}"
    demand(kept <= budget, said)
    return said


def peak_of(bench: Bench, name: str, **flags: object) -> int:
    """Return the peak bytes of a run's synthesis, beside what was there."""
    path = distilled(config_of(bench, name, **flags), bench.scratch())
    return int(read_cost(path.parent)["synthesis_peak_bytes"])


def too_little_is_one_line(bench: Bench) -> str:
    """Check what `ddkit distill` says without enough memory, and that it goes on afterwards."""
    folder = bench.scratch()
    words = [
        "distill",
        "--method",
        "teddy",
        "--data",
        data(),
        "--ipc",
        "20",
        "--network",
        BUDGETED["Teddy"][1],
        "--preset",
        "none",
        "--device",
        str(bench.device),
        "--threads",
        "1",
        *(word for setting in METHODS["Teddy"].settings for word in ("--set", setting)),
    ]
    with own_cache(folder / "cache"):
        code, said = command(*words, "--set", "iterations=1", "--out", str(folder / "pool"))
        demand(code == 0, f"with enough memory: {said}")
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(bench.device).total_memory
        room = torch.cuda.memory_reserved(bench.device) + SPARE
        torch.cuda.set_per_process_memory_fraction(room / total, bench.device)
        try:
            code, said = command(*words, "--out", str(folder / "run"))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
        demand(code == 1, f"exit code {code}: {said[-300:]}")
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        demand(len(errors) == 1 and "Traceback" not in said, f"no single line: {said[-300:]}")
        demand("--memory-budget" in errors[0], f"names no way out: {errors[0]}")
        code, said = command(*words, "--out", str(folder / "run"))
        demand(code == 0, f"the same command with enough memory: {said[-300:]}")
    return errors[0].removeprefix("error: ")


def command(*words: str) -> tuple[int | str | None, str]:
    """Return the exit code of `ddkit` with these words, and what it prints."""
    from ddkit_cli.main import main

    said = StringIO()
    with patch.object(sys, "argv", ["ddkit", *words]), redirect_stderr(said), redirect_stdout(said):
        try:
            main()
        except SystemExit as leaving:
            return leaving.code, said.getvalue()
        except BaseException as error:
            return type(error).__name__, f"Traceback: {error}"


ITEMS = [
    *(
        checked(
            f"a budget holds: {name} in {precision}",
            partial(budgets_hold, name),
            5,
            "two small runs",
            cuda=True,
        )
        for name, (precision, _) in BUDGETED.items()
    ),
    checked("too little memory is one line", too_little_is_one_line, 5, "three runs", cuda=True),
]

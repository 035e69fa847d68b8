"""`ddkit bench` as a user has it: a table, JSON for machines, one line for what is wrong."""

import json

import pytest

from ddkit import DdkitError
from ddkit.bench.store import Store


@pytest.fixture
def refused(benched, tmp_path):
    """Return a function that calls a bench which must fail with one line, and returns that."""

    def call(*flags: str) -> str:
        code, out, err = benched(*flags)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 1, (code, out, err)
        assert len(errors) == 1, err
        assert "Traceback" not in err
        assert err.rstrip().endswith(errors[0])
        return errors[0]

    return call


def test_it_prints_a_line_per_method_and_says_what_comes_next(benched):
    code, out, err = benched(
        "-m", "random,herding", "--set", "herding.features=pixels", "--seeds", "2"
    )
    assert code == 0, err
    assert "next: ddkit report runs/bench" in err
    lines = [line for line in out.splitlines() if "digits" in line]
    assert len(lines) == 2
    assert "herding" in lines[1]
    assert "2 × 2" in lines[0]
    assert "+0.0" in lines[0]  # random images beside themselves


def test_methods_with_other_settings_can_be_told_apart(benched):
    benched("-m", "herding", "--set", "herding.features=pixels")
    code, out, err = benched(
        "-m", "herding", "--set", "herding.features=pixels", "--set", "herding.rule=k-center"
    )
    assert code == 0, err
    names = [line.split()[1:3] for line in out.splitlines() if "digits" in line]
    assert len({tuple(name) for name in names}) == 2


def test_json_is_all_that_stdout_has(benched):
    code, out, err = benched("-m", "random", "--json")
    assert code == 0, err
    found = json.loads(out)
    (row,) = found["rows"]
    assert (row["method"], row["over_random"], row["recipe"]) == ("random", 0, "2 epochs")
    assert row["accuracy"]["between"] is None  # one set has no deviation: null, not NaN
    assert found["failed"] == []


def test_it_goes_where_out_says_and_shows_what_is_there(benched, tmp_path):
    assert benched("-m", "random", "-o", "here")[0] == 0
    store = Store(tmp_path / "here", create=False)
    assert [entry.about["method"] for entry in store.all("cell")] == ["random"]
    assert not (tmp_path / "runs").exists()


def test_a_file_is_a_bench(benched, tmp_path):
    (tmp_path / "bench.toml").write_text('methods = ["random"]\nipc = [1, 2]\n')
    code, out, err = benched("--config", "bench.toml", "--json")
    assert code == 0, err
    assert [row["ipc"] for row in json.loads(out)["rows"]] == [1, 2]


WRONG = {
    "methods": (["-m", "random,tedy"], "unknown method 'tedy': did you mean 'teddy'"),
    "option of a method": (["-m", "apm", "--set", "apm.round=2"], "unknown option 'round'"),
    "value of an option": (["-m", "apm", "--set", "apm.rounds=none"], "rounds"),
    "form of a setting": (["-m", "apm", "--set", "rounds=2"], "METHOD.key=value"),
    "networks": (["-m", "random", "--networks", "convnt"], "unknown network 'convnt'"),
    "network": (["-m", "random", "--network", "convnt"], "unknown network 'convnt'"),
    "protocols": (["-m", "random", "--protocols", "dsaa"], "unknown protocol 'dsaa'"),
    "selection": (["-m", "random", "--selection", "herdin"], "unknown method 'herdin'"),
    "ipc": (["-m", "random", "--ipc", "0"], "ipc"),
    "ipc that is no number": (["-m", "random", "--ipc", "1,ten"], "ipc.1"),
    "seeds": (["-m", "random", "--seeds", "0"], "seeds"),
    "twice": (["-m", "random,random"], "methods names something twice"),
    "device": (["-m", "random", "--device", "tpu"], "--device tpu"),
    "workers": (["-m", "random", "--workers", "0"], "--workers"),
    "task": (["-m", "random", "--task", "speed"], "--task"),
    "flag": (["-m", "random", "--evaluation-seed", "3"], "--evaluation-seed"),
    "file": (["--config", "nowhere.toml"], "cannot read nowhere.toml"),
    "data option": (["-m", "random", "--holdout", "2"], "holdout"),
}


@pytest.mark.parametrize(("flags", "text"), WRONG.values(), ids=WRONG.keys())
def test_wrong_flags_are_one_line_and_leave_nothing_behind(refused, tmp_path, flags, text):
    before = set(tmp_path.rglob("*"))
    assert text in refused(*flags)
    assert set(tmp_path.rglob("*")) == before


def test_data_that_are_not_there_are_one_line(refused):
    assert "nowhere" in refused("-m", "random", "-d", "./nowhere")


def test_what_failed_is_one_line_beside_the_table_of_all_else(benched, method):
    def fail(run, pool):
        raise DdkitError("the pool is empty")

    flags = ["-m", f"random,{method('broken', synthesis_loss=fail)}", "--seeds", "2"]
    code, out, err = benched(*flags)
    assert code == 1
    assert "random" in out
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line == (
        "error: broken · digits · ipc 1 · seed 0: the pool is empty (and 1 more); everything "
        "else is done, and the same command tries again"
    )
    code, out, err = benched(*flags, "--json")
    assert code == 1
    assert len(json.loads(out)["failed"]) == 2


def test_a_damaged_store_is_one_line(refused, benched, tmp_path):
    assert benched("-m", "random", "-o", "bench")[0] == 0
    path = tmp_path / "bench" / "bench.sqlite"
    path.write_bytes(b"not a database, but text " * 1000)
    assert "is damaged" in refused("-m", "random", "-o", "bench")
    assert path.read_bytes() == b"not a database, but text " * 1000

"""Pools from the command line: experts of another project, and runs that name a finished pool."""

import json
import re
import shlex

import pytest
import torch

import ddkit as library
from ddkit import networks

SPEC = "convnet:depth=1:width=4"


@pytest.fixture
def buffers(tmp_path) -> list[str]:
    """Write two replay buffers of two experts and three epochs each, and return their names."""

    def snapshot(seed: int) -> list[torch.Tensor]:
        network = networks.create(
            SPEC, classes=3, shape=(1, 8, 8), generator=torch.Generator().manual_seed(seed)
        )
        return [parameter.detach() for parameter in network.parameters()]

    names = ["replay_buffer_0.pt", "replay_buffer_1.pt"]
    for file, name in enumerate(names):
        experts = [[snapshot(20 * file + 10 * e + epoch) for epoch in range(4)] for e in range(2)]
        torch.save(experts, tmp_path / name)
    return names


@pytest.fixture
def flags(buffers) -> list[str]:
    """Return the arguments of an import that succeeds."""
    return [
        "pool",
        "import",
        *buffers,
        "--data",
        "digits",
        "--classes",
        "0,1,2",
        "--network",
        SPEC,
        "-q",
    ]


def test_an_import_says_what_it_made_and_what_comes_next(ddkit, flags):
    said = ddkit(*flags, "--name", "mine").splitlines()
    assert said[0].startswith("pool mine: 4 experts of 3 epochs, ")
    assert re.search(r" kB; at their last epoch they get \d+% to \d+% of training ", said[0])
    assert said[1:] == [
        "next: ddkit distill --method tesla --pool mine --data digits --classes 0,1,2"
    ]


def test_an_import_in_figures(ddkit, flags, tmp_path):
    made = json.loads(ddkit(*flags, "--mean", "0.25", "--std", "0.5", "--json"))
    folder = tmp_path / "cache" / "pools" / made["name"]
    assert made["name"].startswith("imported-")
    assert made["folder"] == str(folder)
    assert (made["experts"], made["epochs"]) == (4, 3)
    files = [path for path in folder.iterdir() if path.is_file()]
    assert made["bytes"] == sum(path.stat().st_size for path in files) > 10_000
    assert made["description"]["from"] == ["replay_buffer_0.pt", "replay_buffer_1.pt"]


def test_the_next_command_says_all_that_the_import_said_of_the_data(ddkit, flags, tmp_path):
    said = json.loads(
        ddkit(
            *flags,
            "--space",
            "zca",
            "--resize",
            "8",
            "--holdout",
            "0.1",
            "--no-flip",
            "--json",
        )
    )["next"]
    words = shlex.split(said)
    assert words[:4] == ["ddkit", "distill", "--method", "tesla"]
    for part in ("--classes 0,1,2", "--resize 8", "--holdout 0.1", "--no-flip", "--space zca"):
        assert f" {part}" in said
    words[words.index("tesla")] = "random"  # which takes any pool: what is said fits the import
    ddkit(*words[1:], "--trust-base", "--threads", "1", "-o", "run", "-q")
    assert library.load(tmp_path / "run").space.kind == "zca"


def test_imported_pools_are_listed_inspected_and_deleted(ddkit, flags):
    ddkit(*flags, "--name", "mine")
    row = next(line for line in ddkit("pool", "list").splitlines() if "mine" in line)
    for part in ("imported", "digits-3classes", SPEC, " 16 ", "kB"):
        assert part in row
    assert "None" not in row
    sheet = ddkit("pool", "inspect", "mine")
    assert f"mine: imported, digits-3classes, {SPEC}" in sheet
    rows = [line for line in sheet.splitlines() if "expert-" in line]
    assert len(rows) == 4
    assert all(re.search(r"0 … 3 .* \d+% ", row) for row in rows)
    members = json.loads(ddkit("pool", "inspect", "mine", "--json"))["members"]
    assert [(m["task"], m["epoch"]) for m in members][3:6] == [
        ("expert-0000", 3),
        ("expert-0001", 0),
        ("expert-0001", 1),
    ]
    assert "deleted 1 pools" in ddkit("pool", "prune", "mine")


def test_imported_experts_label_images_in_their_own_input_space(ddkit, flags, tmp_path):
    ddkit(*flags, "--name", "mine", "--mean", "0.25", "--std", "0.5")
    options = ("teacher_epoch=0", "teachers=1", "max_start_epoch=1", "expert_epochs=1")
    settings = [part for option in options for part in ("--set", f"relabel.{option}")]
    said = [
        "distill",
        "-m",
        "random",
        "--relabel-from",
        "tesla",
        *settings,
        "--classes",
        "0,1,2",
        "--threads",
        "1",
    ]
    ddkit(*said, "--pool", "mine", "--trust-base", "-o", "run", "-q")
    distilled = library.load(tmp_path / "run")
    pool = library.Pool.open(tmp_path / "cache" / "pools" / "mine")
    pixels = distilled.pixels(torch.arange(3))
    expected = pool.network(0)((pixels - 0.25) / 0.5)
    assert torch.allclose(distilled.labels.logits, expected, atol=1e-3)
    config = (tmp_path / "run" / "config.toml").read_text()
    assert 'pool = "mine"' in config
    assert f'network = "{SPEC}"' in config
    ddkit("evaluate", "run", "--seeds", "1", "--epochs", "1", "--no-real", "-q")


def test_a_trained_pool_by_name_gives_the_same_images(ddkit, small, tmp_path):
    ddkit("distill", *small, "-o", "first", "-q")
    (pool,) = json.loads(ddkit("pool", "list", "--json"))
    ddkit("distill", *small, "--pool", pool["name"], "-o", "second", "-q")
    assert len(json.loads(ddkit("pool", "list", "--json"))) == 1
    first, second = library.load(tmp_path / "first"), library.load(tmp_path / "second")
    rows = torch.arange(10)
    assert torch.equal(first.pixels(rows), second.pixels(rows))
    assert torch.equal(first.labels.logits, second.labels.logits)
    assert first.space.fingerprint() == second.space.fingerprint()
    cost = json.loads((tmp_path / "second" / "cost.json").read_text())
    assert cost["pool_training_seconds"] > 0


def test_a_config_file_repeats_a_run_with_its_pool(ddkit, refused, flags, tmp_path):
    ddkit(*flags, "--name", "mine")
    said = ["-m", "random", "--pool", "mine", "--classes", "0,1,2", "--trust-base"]
    ddkit("distill", *said, "-o", "first", "-q")
    ddkit("distill", "--config", "first", "-o", "second", "-q")
    first, second = (tmp_path / name / "distilled.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert "with --pool it would be a different run" in refused(
        "distill", "--config", "first", "--pool", "mine"
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--mean", "a,b", "--std", "0.5"], ["--mean a,b", "0.49,0.48,0.45"]),
        (["--mean", "0.5,0.5", "--std", "0.5"], ["--mean has 2 values", "1 channels"]),
        (["--network", "convnet"], ["expert 0, epoch 0", "--network convnet"]),
        (["--network", "convent"], ["did you mean 'convnet'?"]),
        (["--classes", "0,1"], ["classifier.weight of [2, 64]", "--classes"]),
        (["--dtype", "int8"], ["int8", "bfloat16"]),
        (["--data", "./nowhere"], ["the data folder nowhere does not exist"]),
        (["missing.pt"], ["no such file: missing.pt"]),
    ],
)
def test_a_wrong_import_gets_one_line_and_leaves_no_pool(refused, flags, tmp_path, more, words):
    line = refused(*flags, *more)
    for word in words:
        assert word in line
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_data_network_and_files_must_be_said(refused, buffers):
    assert "--data" in refused("pool", "import", *buffers, "--network", SPEC)
    assert "--network" in refused("pool", "import", *buffers, "--data", "digits")
    assert "FILES" in refused("pool", "import", "--data", "digits", "--network", SPEC)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--pool", "mien"], ["unknown pool 'mien'", "did you mean 'mine'?"]),
        (["--pool", "./nowhere"], ["there is no such folder"]),
        (["--pool", "mine"], ["is for 3 classes (digits-3classes)", "this run has 10"]),
        (["--pool", "mine", "--classes", "0,1,2", "--resize", "9"], ["1×8×8", "1×9×9", "--resize"]),
        (["--pool", "mine", "--classes", "2,1,0"], ["other images or labels", "--classes"]),
        (
            ["--pool", "mine", "--classes", "0,1,2"],
            ["an expert of the pool 'mine' gets", "--trust-base"],
        ),
        (["--pool", "mine", "--classes", "0,1,2", "--space", "unit"], ["use --space standard"]),
        (["--pool", "mine", "--pool-from", "teddy"], ["leave one of them out"]),
    ],
)
def test_a_pool_that_does_not_fit_gets_one_line_and_no_folder(
    ddkit, refused, flags, tmp_path, more, words
):
    ddkit(*flags, "--name", "mine")
    line = refused("distill", "-m", "random", "--threads", "1", *more)
    for word in words:
        assert word in line
    assert not (tmp_path / "runs").exists()

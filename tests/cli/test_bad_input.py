"""Wrong input gets one clear line and exit code 1, and nothing is lost or half-written."""

import sys

import pytest

TEDDY = ["distill", "--threads", "1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["distill", "--method", "tedy"], ["unknown method 'tedy'", "did you mean 'teddy'?"]),
        (
            [*TEDDY, "--network", "convent"],
            ["unknown network 'convent'", "did you mean 'convnet'?"],
        ),
        ([*TEDDY, "--data", "cifar11"], ["cifar11", "did you mean 'cifar10'?"]),
        ([*TEDDY, "--data", "./nowhere"], ["the data folder nowhere does not exist"]),
        ([*TEDDY, "--ipc", "0"], ["ipc must be 1 or more"]),
        ([*TEDDY, "--ipc", "-3"], ["ipc must be 1 or more"]),
        ([*TEDDY, "--ipc", "many"], ["--ipc", "many"]),
        ([*TEDDY, "--ipc", "500", "--set", "last=4"], ["fewer than --ipc 500"]),
        ([*TEDDY, "--set", "iteration=5"], ["'iteration'", "did you mean 'iterations'?"]),
        ([*TEDDY, "--set", "lr=fast"], ["option 'lr'", "valid number", "'fast'"]),
        ([*TEDDY, "--set", "lr"], ["not of the form key=value"]),
        ([*TEDDY, "--set", "first=9", "--set", "last=3"], ["last (3) must not be below first (9)"]),
        ([*TEDDY, "--preset", "cifar10-ipc2"], ["unknown preset", "did you mean 'cifar10-ipc1'?"]),
        ([*TEDDY, "--network", "convnet", "--set", "last=4"], ["--network convnet:norm=batch"]),
        ([*TEDDY, "--network", "missing.py:make"], ["missing.py"]),
        ([*TEDDY, "--relabel-from", "tesl"], ["unknown method 'tesl'"]),
        ([*TEDDY, "--device", "cuda:9"], ["cuda"]),
        ([*TEDDY, "--classes", "nine"], ["nine"]),
        ([*TEDDY, "--holdout", "1.5"], ["holdout"]),
        ([*TEDDY, "--init", "none.safetensors", "--set", "last=4"], ["no such file: none"]),
        ([*TEDDY, "--device", "gpu"], ["--device gpu", "use cpu, cuda or cuda:N"]),
        ([*TEDDY, "--resize", "100000000"], ["resize", "4096"]),
        ([*TEDDY, "--set", "base=weights.pt"], ["base is for pool=post"]),
        ([*TEDDY, "-m", "random", "--relabel-from", "teddy", "--set", "labels=image"], ["labels"]),
        (["evaluate", "nowhere"], ["no such file", "nowhere"]),
        (["inspect", "nowhere.safetensors"], ["no such file"]),
        (["distil"], ["unknown command 'distil'", "did you mean 'distill'?"]),
        (["pool", "inspect", "nothing"], ["unknown pool 'nothing'"]),
        (["pool", "prune"], ["no pools named"]),
    ],
)
def test_one_line_says_what_where_and_what_to_do(refused, tmp_path, arguments, words):
    line = refused(*arguments)
    for word in words:
        assert word in line
    assert not list(tmp_path.rglob("distilled.safetensors"))


@pytest.mark.parametrize(
    "flags",
    [
        ["--data", "./nowhere"],
        ["--ipc", "500"],
        ["--init", "none.pt"],
        ["--classes", "nine"],
    ],
)
def test_what_cannot_begin_leaves_no_folder(refused, tmp_path, flags):
    refused(*TEDDY, *flags)
    assert not (tmp_path / "runs").exists()


def test_an_empty_folder_is_no_data(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(*TEDDY, "--data", "./empty")


@pytest.mark.parametrize("damage", ["truncated", "foreign", "pool"])
def test_a_file_that_is_no_artifact(refused, distilled, tmp_path, damage):
    path = tmp_path / "file.safetensors"
    if damage == "foreign":
        import torch
        from safetensors.torch import save_file

        save_file({"images": torch.zeros(3)}, path)
    else:
        source = distilled / "distilled.safetensors"
        if damage == "pool":
            source = next((tmp_path / "cache" / "pools").glob("*/trajectory.safetensors"))
        content = source.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    line = refused("inspect", "file.safetensors")
    expected = {
        "truncated": "truncated",
        "foreign": "not written by ddkit",
        "pool": "not a distilled set",
    }
    assert expected[damage] in line


def test_a_folder_that_holds_another_run_is_kept(ddkit, refused, small, distilled):
    before = (distilled / "distilled.safetensors").read_bytes()
    line = refused("distill", *small, "--seed", "1", "-o", "run")
    assert "holds another run" in line
    assert (distilled / "distilled.safetensors").read_bytes() == before
    ddkit("distill", *small, "--seed", "1", "-o", "run", "--overwrite")
    assert (distilled / "distilled.safetensors").read_bytes() != before


def test_a_folder_with_other_files_is_left_alone(refused, small, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    assert "not a ddkit run" in refused("distill", *small, "-o", "thesis", "--overwrite")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "precious"


def test_a_loss_that_explodes_says_what_to_lower(refused, small, tmp_path):
    line = refused("distill", *small, "--set", "lr=1e38", "--set", "clip=false", "-o", "run")
    assert "not finite" in line
    assert "lower the learning rate (--set lr=…)" in line
    assert not (tmp_path / "run" / "distilled.safetensors").exists()


def test_wrong_flags_on_a_finished_run(refused, distilled, tmp_path):
    before = (distilled / "distilled.safetensors").read_bytes()
    assert "epochs" in refused("evaluate", "run", "--epochs", "0")
    assert "epochs" in refused("train", "run", "--epochs", "0", "--out", "w.safetensors")
    assert "CUDA device" in refused("train", "run", "--device", "cuda:99", "--out", "w.safetensors")
    assert "did you mean 'resnet18'?" in refused(
        "evaluate", "run", "--networks", "convnet,resnet81"
    )
    assert "already exists" in refused("relabel", "run", "-o", "run/distilled.safetensors")
    assert (distilled / "distilled.safetensors").read_bytes() == before
    assert not (tmp_path / "w.safetensors").exists()


def test_other_data_are_noticed(refused, small, distilled):
    line = refused("distill", *small, "--classes", "3", "--init", "run", "-o", "other")
    assert "this run distils 3" in line


def test_what_a_run_began_with_must_not_change(ddkit, refused, small, tmp_path):
    (tmp_path / "net.py").write_text(MY_NETWORK.format(width=4))
    flags = [flag.replace("convnet:width=8:norm=batch", "net.py:make") for flag in small]
    ddkit("distill", *flags, "-o", "run")
    (tmp_path / "run" / "distilled.safetensors").unlink()
    (tmp_path / "net.py").write_text(MY_NETWORK.format(width=5))
    assert "the network of the run in run changed" in refused("distill", *flags, "-o", "run")
    ddkit("distill", *flags, "-o", "run", "--overwrite")
    assert "if you trust that file" in refused("evaluate", "run")


MY_NETWORK = """
from torch import nn
def make(classes, shape):
    return nn.Sequential(nn.Conv2d(shape[0], {width}, 3), nn.BatchNorm2d({width}), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear({width}, classes))
"""


def test_leftovers_of_a_killed_process_do_not_block_a_folder(ddkit, small, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.toml.abcd1234").write_text("half")
    ddkit("distill", *small, "-o", "run")
    assert not (tmp_path / "run" / ".config.toml.abcd1234").exists()


def test_config_and_flags_contradict(refused, distilled):
    assert "--config repeats a run" in refused(
        "distill", "--config", "run/config.toml", "--ipc", "3"
    )


def test_mismatched_torch_builds_are_explained(called, tmp_path, monkeypatch):
    fake = tmp_path / "fake" / "torchvision"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    monkeypatch.syspath_prepend(fake.parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    flags = ("--network", "resnet18", "--set", "last=4", "--threads", "1", "-q")
    code, _, err = called("distill", *flags)
    assert code == 1
    assert "torchvision" in err
    assert "--force-reinstall torch torchvision" in err
    assert len(err.strip().splitlines()) == 1

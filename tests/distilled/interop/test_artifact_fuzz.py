"""Artifacts that came to harm, or were made to do harm: refused in one line, or sound."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ddkit
from ddkit.data.augmentation.views import draw_views
from ddkit.data.space import InputSpace
from ddkit.data.zca import Zca
from ddkit.distilled.writing import write_distilled
from ddkit.labels import EpochLabels, HardLabels, Labels, SoftLabels, joined
from ddkit.synthesis.images import Synthetic
from tests.distilled.interop.conftest import Reader, fuzz

QUICK, SLOW = 200, 10_000
CLASSES = torch.tensor([0, 0, 1, 1, 2, 2])
STANDARD = InputSpace(torch.tensor([0.3]), torch.tensor([0.25]))
WHITE = InputSpace(
    torch.zeros(1), torch.ones(1), Zca(torch.zeros(16), torch.eye(16), 2 * torch.eye(16))
)
CONFIG = {"method": "imported", "ipc": 2, "seed": 0, "data": {"name": "digits"}, "device": "cpu"}
ABOUT = {
    "classes": ["a", "b", "c"],
    "mirror": True,
    "config": CONFIG,
    "network": "convnet",
    "data_fingerprint": "0",
    "protocol": {},
}
JUNK: tuple[Any, ...] = (
    None,
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    True,
    "",
    "../../x",
    [],
    {},
    [1],
    {"a": 1},
    [None],
)
DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F8_E5M2", "X")


def artifact(
    folder: Path, labels: Labels, space: InputSpace = STANDARD, part_bytes: int = 2**30
) -> Reader:
    """Write an artifact, and return what reads it whole and trains on it."""
    path = folder / "set.safetensors"
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    logits = torch.zeros(6, 3)
    set_ = Synthetic(images, CLASSES, 0.1, logits)
    write_distilled(path, set_, labels, space, ABOUT, part_bytes)

    def read() -> None:
        found = ddkit.load(path)
        rows = torch.arange(len(found))
        for epoch in range(2):
            inputs, targets = found.inputs(rows, epoch)
            assert inputs.shape == (len(rows), *found.shape)
            assert inputs.dtype == torch.float32
            assert targets.shape in ((len(rows),), (len(rows), len(found.class_names)))
        assert isinstance(found[0][0], torch.Tensor)
        for name in found.file.names:
            assert isinstance(found.file[name], torch.Tensor)
        assert all(isinstance(name, str) for name in found.class_names)
        assert isinstance(found.config["ipc"], int)

    return Reader(path, read)


def epoch_labels() -> EpochLabels:
    views = [draw_views(6, (4, 4), torch.Generator().manual_seed(seed)) for seed in range(2)]
    return EpochLabels(torch.zeros(2, 6, 3).half(), joined(views))


def twisted(whole: bytes, draw: random.Random) -> bytes:
    """Return an artifact whose header is whole, but says something else."""
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    about = json.loads(header["__metadata__"]["ddkit"])
    for _ in range(draw.randint(1, 2)):
        if draw.random() < 0.5:
            places = [about, about, about.get("labels"), about.get("config")]
            place = draw.choice([each for each in places if isinstance(each, dict) and each])
            place[draw.choice(sorted(place))] = draw.choice(JUNK)
        else:
            twist_tensor(header, draw)
    header["__metadata__"]["ddkit"] = json.dumps(about)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + whole[8 + length :]


def twist_tensor(header: dict[str, Any], draw: random.Random) -> None:
    """Give a tensor another shape or type, mostly of as many bytes, or another one's name."""
    names = sorted(set(header) - {"__metadata__"})
    name = draw.choice(names)
    entry = header[name]
    match draw.randrange(4):
        case 0:
            count = 1
            for size in entry["shape"]:
                count *= size
            entry["shape"] = draw.choice([[count], [1, count], [count, 1], [], [-1], [2**62, 4]])
        case 1:
            entry["dtype"] = draw.choice(DTYPES)
        case 2:
            other = draw.choice(names)
            header[name], header[other] = header[other], header[name]
        case _:
            header[f"{name}.other"] = header.pop(name)


ARTIFACTS: dict[str, Callable[[Path], Reader]] = {
    "hard": lambda folder: artifact(folder, HardLabels(CLASSES)),
    "soft": lambda folder: artifact(folder, SoftLabels(torch.zeros(6, 3)), WHITE),
    "epoch": lambda folder: artifact(folder, epoch_labels()),
    "in parts": lambda folder: artifact(folder, HardLabels(CLASSES), part_bytes=128),
}


@pytest.mark.parametrize("header", [False, True], ids=["bytes", "header"])
@pytest.mark.parametrize("name", ARTIFACTS)
def test_damaged_artifacts_are_refused_or_read_soundly(tmp_path, name, header):
    reader = ARTIFACTS[name](tmp_path)
    reader.damage = twisted if header else reader.damage
    assert fuzz(reader, QUICK) > QUICK / 20  # damage is seen where it can be


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("header", [False, True], ids=["bytes", "header"])
@pytest.mark.parametrize("name", ARTIFACTS)
def test_many_damaged_artifacts_are_refused_or_read_soundly(tmp_path, name, header):
    reader = ARTIFACTS[name](tmp_path)
    reader.damage = twisted if header else reader.damage
    fuzz(reader, SLOW)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/x.safetensors", "..", "", "a", 3])
def test_the_files_of_an_index_are_beside_it(tmp_path, name):
    reader = ARTIFACTS["in parts"](tmp_path)
    whole = reader.file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    about = json.loads(header["__metadata__"]["ddkit"])
    about["image_files"][0] = name
    header["__metadata__"]["ddkit"] = json.dumps(about)
    text = json.dumps(header).encode()
    reader.file.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
    with pytest.raises(ddkit.DdkitError, match="must lie in the same folder"):
        ddkit.load(reader.file)

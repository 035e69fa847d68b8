"""What ImageNet-1K at 50 images per class takes on disk, against sums by hand; no data needed."""

import pytest

from ddkit.pipeline.plan import data_of, plan
from ddkit.pipeline.rehearse import Rehearsal
from ddkit.pipeline.resolve import Request, resolve

CLASSES, IMAGES = 1000, 50_000
FLOAT, HALF = 4, 2
RESNET18 = 11_689_512 * FLOAT + 9_600 * FLOAT + 20 * 8  # weights; running statistics; counters


def convnet(*, batch_norm: bool) -> int:
    """Return the bytes of a ConvNet of four blocks of 128 channels on 64 px."""
    convolutions = 128 * 3 * 9 + 128 + 3 * (128 * 128 * 9 + 128)
    norms = 4 * 2 * 128
    classifier = 128 * 4 * 4 * CLASSES + CLASSES
    statistics = (4 * 2 * 128 * FLOAT + 4 * 8) if batch_norm else 0
    return (convolutions + norms + classifier) * FLOAT + statistics


EPOCH_LABELS = 300 * IMAGES * CLASSES * HALF  # their views follow from a seed
LABELS = IMAGES * CLASSES * FLOAT
SNAPSHOTS = 9  # of epochs 21, 26 … 61
TRAJECTORY = 51  # untrained, and after each of 50 epochs
CASES = {  # image side where it is not the original's, bytes of pool, image and labels
    "teddy": (None, SNAPSHOTS * RESNET18, 224 * 224 * 3, EPOCH_LABELS),
    "teddy at 64 px": (64, SNAPSHOTS * convnet(batch_norm=True), 64 * 64 * 3, EPOCH_LABELS),
    "tesla": (64, 50 * TRAJECTORY * convnet(batch_norm=False), 64 * 64 * 3 * FLOAT, LABELS),
    "apm": (64, 100 * convnet(batch_norm=False), 64 * 64 * 3 * FLOAT, LABELS),
}


@pytest.mark.slow  # small pools of large networks
@pytest.mark.parametrize("case", CASES)
def test_disk_is_that_of_sums_by_hand_within_a_hundredth(case, monkeypatch):
    side, pool, image, labels = CASES[case]
    monkeypatch.setattr(Rehearsal, "step", (0.5, 1000))  # of disk, steps say nothing …
    method = case.split()[0]
    store = "uint8" if method == "teddy" else "float32"  # … but for whether pixels stay valid
    flags = {"ipc": 50, "threads": 1, "device": "cpu", "store": store}
    data = {"name": "imagenet-1k"} | ({"resize": side} if side else {})
    config = resolve(Request(method, flags, data, [], None))
    found = plan(config, data_of(config.data))
    assert found.pool_bytes == pytest.approx(pool, rel=0.01)
    assert found.label_bytes == pytest.approx(labels, rel=0.01)
    assert found.image_bytes == IMAGES * image

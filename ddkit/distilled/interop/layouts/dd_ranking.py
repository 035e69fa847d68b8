"""What DD-Ranking 0.2.0 scores: `images.pt`, `soft_labels.pt` or `hard_labels.pt`, `syn_lr.pt`.

Images are normalised (whitened with ZCA) and lie class by class, soft labels are logits. The
`config.yaml` beside them has what the set knows; how students are trained is for the user to say.
"""

from pathlib import Path

import torch

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing, tensors_line
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import hard_of, images_of, labels_of, number_of
from ddkit.labels import HardLabels

FOLDER = True
IMAGES, SOFT, HARD, RATE = "images.pt", "soft_labels.pt", "hard_labels.pt", "syn_lr.pt"


def recognises(path: Path) -> bool:
    return (path / IMAGES).exists() and any((path / name).exists() for name in (SOFT, HARD))


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    names = given.class_names(path)
    source = path / IMAGES
    images = given.pixels(images_of(files.torch(source), source), source)
    soft = path / SOFT
    if soft.exists():
        classes, labels = labels_of(files.torch(soft), len(images), given, soft, kind="logits")
    else:
        classes = hard_of(files.torch(path / HARD), len(images), names, path / HARD)
        labels = HardLabels(classes)
    rate = path / RATE
    learned = number_of(files.torch(rate), rate) if rate.exists() else None
    return Imported(images, classes, labels, names, given.learning_rate or learned)


def write(outgoing: Outgoing, path: Path) -> None:
    torch.save(outgoing.inputs, path / IMAGES)
    if outgoing.is_hard:
        torch.save(outgoing.hard(), path / HARD)
    else:
        torch.save(outgoing.soft("logits"), path / SOFT)
    if outgoing.distilled.learning_rate is not None:
        torch.save(torch.tensor(outgoing.distilled.learning_rate), path / RATE)
    (path / "config.yaml").write_text(config(outgoing), encoding="utf-8")
    if outgoing.distilled.space.kind == "zca-relative":
        outgoing.notes.append("DD-Ranking has no whitening with a relative ridge, as these have")
    outgoing.notes.append(
        "config.yaml does not say how students are trained: see DD-Ranking's own configs"
    )


def config(outgoing: Outgoing) -> str:
    """Return a config file for DD-Ranking's `Config.from_file`."""
    distilled = outgoing.distilled
    _, height, width = distilled.shape
    counts = torch.bincount(outgoing.classes, minlength=len(outgoing.class_names))
    lines = {
        "real_data_path": "./dataset/",
        "ipc": int(counts.max()),
        "im_size": [height, width],
        "use_zca": str(distilled.space.kind == "zca").lower(),
        "temperature": distilled.labels.temperature,
    }
    if not outgoing.is_hard:
        lines |= {"soft_label_mode": "S", "soft_label_criterion": "kl"}
    if distilled.learning_rate is not None:
        lines["default_lr"] = distilled.learning_rate
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def loading(path: Path) -> str:
    return tensors_line(path, IMAGES, SOFT if (path / SOFT).exists() else HARD)

"""APM: a `.pt` file {'data': [normalised images, logits], 'accs_all_exps': …}."""

from pathlib import Path

import torch

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import images_of, item, labels_of, pair

FOLDER = False


def recognises(path: Path) -> bool:
    return False  # APM's names say nothing of their content


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    inputs, vectors = pair(item(files.torch(path), "data", path), path)
    images = given.pixels(images_of(inputs, path), path)
    classes, labels = labels_of(vectors, len(images), given, path, kind="logits")
    return Imported(images, classes, labels, given.class_names(path), given.learning_rate)


def write(outgoing: Outgoing, path: Path) -> None:
    labels = outgoing.hard() if outgoing.is_hard else outgoing.soft(outgoing.labels or "logits")
    torch.save({"data": [outgoing.inputs, labels], "accs_all_exps": {}}, path)


def loading(path: Path) -> str:
    return f"import torch; images, labels = torch.load({str(path)!r})['data']"

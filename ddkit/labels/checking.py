"""Whether what a file says of its labels is what `labels_from` can read."""

from collections.abc import Callable, Mapping
from typing import Any

from ddkit.data.augmentation.views import MIXES
from ddkit.labels.codecs import Codec, TopK, codec_named
from ddkit.labels.coded import PLAIN
from ddkit.runtime.tensors import TensorFile

Check = Callable[[str, bool], None]
"""Called with what is wrong, and whether it is."""

DRAWN = {"seed": int, "count": int, "size": list, "scale": list, "flip": bool, "mix": str}
ENSEMBLE = {"pool": str, "fingerprint": str, "members": list, "average": str}


def check_logits(file: TensorFile, images: int, classes: int, refuse: Check) -> int:
    """Check soft labels of so many images and classes, and return their epochs, 0 without any."""
    about = file.metadata["labels"]
    form = about.get("form")
    codec = codec_named(form) if isinstance(form, str) else None
    refuse("its labels have an unknown form", form is not None and codec is None)
    refuse(
        "its labels are for other classes", codec is not None and about.get("classes") != classes
    )
    parts = codec.layout(classes) if codec is not None else {}
    first = file.get(".".join(["labels.logits", *list(parts)[:1]]))
    per_epoch = about["kind"] == "epoch"
    epochs = len(first) if per_epoch and first is not None and first.ndim else 0
    lead = (epochs, images) if per_epoch else (images,)
    refuse(
        "its soft labels do not match its images",
        (per_epoch and not epochs) or not _are_logits(file, codec, lead, classes),
    )
    return epochs


def check_drawn(views: Any, images: int, refuse: Check) -> None:
    """Check views that are drawn again from a seed."""
    good = _has(views, DRAWN) and views["count"] == images and views["mix"] in MIXES
    good = good and _numbers(views["size"], int) and _numbers(views["scale"], int | float)
    good = good and 0 < views["scale"][0] <= views["scale"][1] <= 1 and min(views["size"]) > 0
    good = good and isinstance(views.get("check"), int | float | None)
    strips = views.get("strips", 1) if good else 1
    good = good and type(strips) is int and 0 < strips <= min(views["size"])
    good = good and set(views) <= {"check", "strips", *DRAWN}
    refuse("its views cannot be drawn again from its metadata", not good)


def check_recipe(about: Mapping[str, Any], images: int, refuse: Check) -> None:
    """Check who labels, and what."""
    who: Any = about.get("ensemble")
    epochs = about.get("epochs")
    good = _has(who, ENSEMBLE) and set(who) == set(ENSEMBLE) and type(epochs) is int and epochs > 0
    good = good and all(type(index) is int and index >= 0 for index in who["members"])
    good = good and bool(who["members"]) and who["average"] in ("logits", "probabilities")
    plain = good and not set(who["pool"]) & set("/\\\0:") and bool(who["pool"].strip("."))
    refuse("its recipe for labels must name a pool, members and epochs", not plain)
    check_drawn(about.get("views"), images, refuse)


def _are_logits(file: TensorFile, codec: Codec | None, lead: tuple[int, ...], classes: int) -> bool:
    if codec is None:
        logits = file.get("labels.logits")
        return logits is not None and logits.dtype in PLAIN and logits.shape == (*lead, classes)
    for name, (dtype, tail) in codec.layout(classes).items():
        part = file.get(f"labels.logits.{name}")
        if part is None or part.dtype != dtype or part.shape != (*lead, *tail):
            return False
    if isinstance(codec, TopK):
        chosen = file["labels.logits.classes"]
        return codec.k < classes and 0 <= int(chosen.min()) <= int(chosen.max()) < classes
    return True


def _has(value: Any, types: Mapping[str, type]) -> bool:
    return isinstance(value, dict) and all(type(value.get(n)) is kind for n, kind in types.items())


def _numbers(pair: list[Any], kind: Any) -> bool:
    return len(pair) == 2 and all(isinstance(number, kind) for number in pair)

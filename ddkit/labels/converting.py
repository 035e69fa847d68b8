"""The forms that labels can be asked for, and from one to another."""

from dataclasses import replace

from ddkit.config import RECIPE, known_form
from ddkit.flags import ViewForm
from ddkit.labels.codecs import check_codec, codec_named
from ddkit.labels.coded import encoded
from ddkit.labels.epochs import EpochLabels
from ddkit.labels.kinds import Labels, RegressionTargets, SoftLabels
from ddkit.labels.recipe import RecipeLabels
from ddkit.runtime.errors import DdkitError


def asked_form(form: str | None) -> str | None:
    """Return a form that a user named, or None; raises `DdkitError` for a name that is none."""
    try:
        return None if form is None else known_form(form)
    except ValueError as error:
        raise DdkitError(f"--labels-as {form}: {error}") from error


def other_forms(classes: int) -> tuple[str, ...]:
    """Return the forms whose bytes are worth comparing: top-k keeps a tenth of the classes."""
    return ("fp16", "int8", f"top-k:{max(1, classes // 10)}")


def check_form(form: str, classes: int) -> None:
    """Raise `DdkitError` for a form that makes no sense for so many classes."""
    codec = codec_named(form)
    if codec is not None:
        check_codec(codec, classes)


def in_form(labels: Labels, form: str, views: ViewForm = "auto") -> Labels:
    """Return labels as they are asked for; hard ones stay as they are.

    Args:
        form: one of `FORMS`; auto leaves logits as they are.
        views: "stored" writes augmentations down, "seed" wants them to be drawn again, and auto
            leaves them as they are.

    Raises:
        DdkitError: these labels cannot have that form.
    """
    if form == RECIPE and not isinstance(labels, RecipeLabels):
        raise DdkitError(
            f"labels stored as {labels.form} are not a recipe: a method that labels every epoch, "
            "such as teddy, makes one"
        )
    if isinstance(labels, RegressionTargets) and form != "auto":
        raise DdkitError(
            f"regression targets are no logits that can be stored as {form}: leave out --labels-as"
        )
    if isinstance(labels, RecipeLabels) and (form not in ("auto", RECIPE) or views == "stored"):
        raise DdkitError("a recipe has no logits or views to store: label the images with a method")
    if isinstance(labels, SoftLabels | EpochLabels) and form != "auto":
        labels = replace(labels, logits=encoded(labels.logits, form, labels.temperature))
    return with_views(labels, views) if isinstance(labels, EpochLabels) else labels


def with_views(labels: EpochLabels, views: ViewForm) -> EpochLabels:
    """Return labels with their augmentations written down, or as they are."""
    stored = labels.views_are_stored
    if views == "seed" and stored:
        raise DdkitError(
            "the augmentations of these labels are stored, and no seed reproduces them"
        )
    if views == "stored" and not stored:
        return replace(labels, views=labels.written_down())
    return labels


def with_epochs(labels: Labels, epochs: int) -> Labels:
    """Return labels of the first `epochs` alone; raises `DdkitError` where there are no more."""
    if not isinstance(labels, EpochLabels | RecipeLabels):
        raise DdkitError(
            f"labels of kind {labels.kind} are the same in every epoch: there are none to leave out"
        )
    if not 0 < epochs <= labels.epochs:
        raise DdkitError(f"there are labels of {labels.epochs} epochs: {epochs} cannot be kept")
    return labels.kept(epochs)


def loss_of(before: Labels, after: Labels) -> str:
    """Return what labels lost when they took another form, in one line; "" for nothing."""
    fewer = before.epochs - after.epochs
    left_out = f"{fewer} of {before.epochs} epochs are left out" if fewer else ""
    return " and ".join(filter(None, [left_out, rounding(before.form, after.form)]))


def rounding(before: str, after: str) -> str:
    """Return what logits lose from one form to another; "" for nothing."""
    if after == before:
        return ""
    if codec_named(before) is not None:
        return f"logits are no more exact than the {before} that they are made of"
    if after == "int8":
        return "logits are rounded to 255 levels"
    if codec_named(after) is not None:
        return "the smaller logits share one level"
    return "logits are rounded to float16"

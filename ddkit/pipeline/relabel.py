"""The same images with other labels: the same ones in another form, or made again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddkit.config import RECIPE, LabelForm, RunConfig
from ddkit.distilled.dataset import DistilledDataset, load
from ddkit.distilled.writing import HEADER, write_distilled
from ddkit.flags import ViewForm
from ddkit.labels import HardLabels, Labels, RecipeLabels, RegressionTargets
from ddkit.labels.converting import in_form, loss_of, with_epochs
from ddkit.pipeline import distill, evaluate
from ddkit.pipeline.resolve import with_relabel
from ddkit.pipeline.stages import Stage
from ddkit.pools import named
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress
from ddkit.runtime.settings import validated


@dataclass(frozen=True)
class RelabelRequest:
    """What a user asks for; None where nothing was said.

    Attributes:
        source, settings, pool: who labels again, with which options and whose networks.
        network: a network from a file that the set names, where the user trusts it.
        form, views: how labels are stored, as in `RunConfig`.
        epochs: labels of so many epochs are kept.
    """

    source: str | None = None
    settings: Sequence[str] = ()
    pool: str | None = None
    network: str | None = None
    form: LabelForm | None = None
    views: ViewForm | None = None
    epochs: int | None = None

    def labels_anew(self, labels: Labels) -> bool:
        """Return whether networks must label the images again, and not just logits be rewritten."""
        who = self.source is not None or bool(self.settings) or self.pool is not None
        nothing = (self.form, self.views, self.epochs) == (None, None, None)
        to_logits = isinstance(labels, RecipeLabels) and (
            self.form not in (None, "auto", RECIPE) or self.views == "stored"
        )
        to_recipe = self.form == RECIPE and not isinstance(labels, RecipeLabels)
        return who or nothing or to_logits or to_recipe


def relabel(
    path: Path,
    out: Path,
    wanted: RelabelRequest,
    progress: Progress,
    *,
    data: str | None = None,
    device: str | None = None,
) -> str:
    """Write the images of an artifact with other labels to `out`, a new file.

    Returns what labels lost where they were converted, in one line, or "".

    Args:
        data, device: where the data lie now and the work is done, None for as in the run; needed
            where the images are labelled again.

    Raises:
        DdkitError: `out` exists, or these labels cannot be had.
    """
    if out.exists():
        raise DdkitError(f"--out {out} already exists: name a new file")
    distilled = load(path)
    if wanted.labels_anew(distilled.labels):
        config = config_of(distilled, wanted, data, device, progress)
        run = evaluate.run_of(distilled, config, out.parent, progress)
        distill.relabel_into(Stage(run, "relabel"), distilled.synthetic(), out, wanted.epochs)
        return ""
    return convert(distilled, out, wanted)


def config_of(
    distilled: DistilledDataset,
    wanted: RelabelRequest,
    data: str | None,
    device: str | None,
    progress: Progress,
) -> RunConfig:
    """Return the configuration of the run that labels the images again."""
    config = evaluate.config_of(distilled, data, device)
    evaluate.trusted(config.network, [wanted.network or ""])
    values = config.model_dump() | forms(wanted)
    if wanted.pool is not None:
        values |= {"pool": named.settled(wanted.pool), "pool_from": None}
    config = validated(RunConfig, values, "the run")
    return with_relabel(config, wanted.source, wanted.settings, progress.note)


def forms(wanted: RelabelRequest) -> dict[str, str]:
    """Return the fields of `RunConfig` that say how labels are stored, where they were said."""
    said = {"labels_as": wanted.form, "label_views": wanted.views}
    return {name: form for name, form in said.items() if form is not None}


def convert(distilled: DistilledDataset, out: Path, wanted: RelabelRequest) -> str:
    """Write a set with its labels in another form, and return what they lose."""
    labels = converted(distilled, wanted)
    metadata = {name: said for name, said in distilled.metadata.items() if name not in HEADER}
    config = metadata.get("config")
    if config is not None:
        metadata["config"] = config | forms(wanted)
    write_distilled(out, distilled.synthetic(), labels, distilled.space, metadata)
    lost = loss_of(distilled.labels, labels)
    return f"{lost}; {distilled.file.path} keeps what it had" if lost else ""


def converted(distilled: DistilledDataset, wanted: RelabelRequest) -> Labels:
    """Return a set's labels in the form that is asked for."""
    labels = distilled.labels
    if isinstance(labels, HardLabels | RegressionTargets):
        kind = "hard labels" if isinstance(labels, HardLabels) else "regression targets"
        raise DdkitError(
            f"{distilled.file.path} has {kind}, which have only one form: --relabel-from METHOD "
            "makes soft labels"
        )
    if wanted.epochs is not None:
        labels = with_epochs(labels, wanted.epochs)
    return in_form(labels, wanted.form or "auto", wanted.views or "auto")

"""`ddkit inspect`: what a file of ddkit says about itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddkit.runtime.sizes import readable
from ddkit_cli.options import output_options

if TYPE_CHECKING:
    from ddkit.labels import Labels


@click.command(short_help="show what a distilled set says about itself")
@click.argument("artifact", type=click.Path(path_type=Path))
@output_options
def inspect(artifact: Path, as_json: bool, quiet: bool) -> None:
    """Show what ARTIFACT (a distilled set, or a run's folder) says about itself."""
    from ddkit.distilled.dataset import artifact_path, load
    from ddkit_cli import display

    path = artifact_path(artifact)
    distilled = load(path)
    if as_json:
        display.as_json(
            {
                "images": len(distilled.stored),
                "training_images": len(distilled),
                "shape": distilled.shape,
                "image_bytes": distilled.image_bytes,
                "label_bytes": distilled.labels.bytes,
                "view_bytes": distilled.labels.view_bytes,
                "label_form": distilled.labels.form,
                "label_epochs": distilled.labels.epochs,
                **distilled.metadata,
            }
        )
        return
    stored = distilled.file["images"].dtype if "images" in distilled.file else "in parts"
    rate = distilled.learning_rate
    display.table(
        str(path),
        ["", ""],
        [
            *made_by(distilled.metadata),
            (
                "images",
                f"{distilled.stored.count} of {distilled.shape}, {stored}, "
                f"{readable(distilled.image_bytes)}",
            ),
            (
                "classes",
                ", ".join(distilled.class_names[:12])
                + (" …" if len(distilled.class_names) > 12 else ""),
            ),
            *stored_labels(distilled.labels),
            ("temperature", f"{distilled.labels.temperature:g}"),
            ("learned rate", "none" if rate is None else f"{rate:.4g}"),
            ("input space", distilled.space.kind),
            ("network", distilled.metadata["network"]),
            ("data", distilled.metadata.get("data_fingerprint") or "not said"),
            ("versions", ", ".join(f"{k} {v}" for k, v in distilled.metadata["versions"].items())),
        ],
    )


def stored_labels(labels: "Labels") -> list[tuple[str, str]]:
    """Return the rows that say how labels and their augmentations are stored."""
    from ddkit.labels import EpochLabels, RecipeLabels

    stored = readable(labels.bytes - labels.view_bytes)
    if isinstance(labels, RecipeLabels):
        size, who = labels.pool_bytes, labels.ensemble
        there = "which is not here" if size is None else readable(size)
        return [
            ("labels", f"recipe, {stored}, {labels.epochs} epochs, made while training"),
            ("by", f"{len(who.members)} members of the pool {who.pool}, {there}"),
            ("views", "drawn from a seed, 0 B"),
        ]
    if isinstance(labels, EpochLabels):
        views = "stored" if labels.views_are_stored else "drawn from a seed"
        return [
            ("labels", f"epoch, {labels.form}, {stored}, {labels.epochs} epochs"),
            ("views", f"{views}, {readable(labels.view_bytes)}"),
        ]
    return [("labels", f"{labels.kind}, {labels.form}, {stored}")]


def made_by(about: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows that say where a set comes from; an import may not know its data."""
    rows = []
    if origin := about.get("imported"):
        rows.append(("imported", f"{origin.get('name')}, format {origin.get('format')}"))
    if cut := about.get("cut_from"):
        rows.append(("cut from", f"a set of {cut.get('images')} images"))
    if config := about.get("config"):
        made = f"{config['method']} on {config['data']['name']}, ipc {config['ipc']}"
        rows.append(("method", f"{made}, seed {config['seed']}"))
        rows.append(("preset", str(config.get("preset") or "none")))
    return rows

"""`ddkit inspect`: what a file of ddkit says about itself."""

from pathlib import Path

import click

from ddkit.budget import readable
from ddkit_cli.options import output_options


@click.command(short_help="show what a distilled set says about itself")
@click.argument("artifact", type=click.Path(path_type=Path))
@output_options
def inspect(artifact: Path, as_json: bool, quiet: bool) -> None:
    """Show what ARTIFACT (a distilled set, or a run's folder) says about itself."""
    from ddkit.distilled import artifact_path, load
    from ddkit_cli import display

    path = artifact_path(artifact)
    distilled = load(path)
    if as_json:
        display.as_json({
            "images": len(distilled), "shape": distilled.shape,
            "image_bytes": distilled.image_bytes,
            "label_bytes": distilled.labels.bytes, **distilled.metadata,
        })  # fmt: skip
        return
    config = distilled.metadata["config"]
    stored = distilled.file["images"].dtype if "images" in distilled.file else "in parts"
    rate = distilled.learning_rate
    display.table(str(path), ["", ""], [
        ("method", f"{config['method']} on {config['data']['name']}, ipc {config['ipc']}, "
                   f"seed {config['seed']}"),
        ("preset", config["preset"] or "none"),
        ("images", f"{len(distilled)} of {distilled.shape}, {stored}, "
                   f"{readable(distilled.image_bytes)}"),
        ("classes", ", ".join(distilled.class_names[:12])
                    + (" …" if len(distilled.class_names) > 12 else "")),
        ("labels", f"{distilled.labels.kind}, {readable(distilled.labels.bytes)}"),
        ("temperature", f"{distilled.labels.temperature:g}"),
        ("learned rate", "none" if rate is None else f"{rate:.4g}"),
        ("input space", distilled.space.kind),
        ("network", distilled.metadata["network"]),
        ("data", distilled.metadata["data_fingerprint"]),
        ("versions", ", ".join(f"{k} {v}" for k, v in distilled.metadata["versions"].items())),
    ])  # fmt: skip

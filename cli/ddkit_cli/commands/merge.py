"""`ddkit merge`: several distilled sets of the same data as one."""

from pathlib import Path

import click

from ddkit_cli.options import output_options


@click.command(short_help="merge distilled sets of the same data into one")
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="a new file")
@click.option("--overwrite", is_flag=True, help="replace the distilled set that --out holds")
@output_options
def merge(
    artifacts: tuple[Path, ...], out: Path, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Merge ARTIFACTS (files, or folders of runs) into one set, class by class, at --out.

    They must come from the same data and have the same kind of labels. Sets of disjoint classes
    (--classes) become one of all these classes, with hard labels.
    """
    from ddkit.distilled.dataset import load
    from ddkit.distilled.merging import merge as merge_sets
    from ddkit.runtime.sizes import readable
    from ddkit_cli import display

    merged = load(merge_sets(artifacts, out, overwrite=overwrite))
    ipc, count = merged.metadata["config"]["ipc"], len(artifacts)
    if as_json:
        display.as_json(
            {
                "artifact": out,
                "merged": count,
                "images": len(merged),
                "ipc": ipc,
                "image_bytes": merged.image_bytes,
                "labels": merged.labels.kind,
                "label_bytes": merged.labels.bytes,
            }
        )
        return
    display.table(
        f"{count} sets merged, ipc {ipc}",
        ["", ""],
        [
            ("artifact", str(out)),
            ("images", f"{merged.stored.count} of {merged.shape}, {readable(merged.image_bytes)}"),
            ("labels", f"{merged.labels.kind}, {readable(merged.labels.bytes)}"),
        ],
    )
    display.say(f"next: ddkit evaluate {out}    or    ddkit show {out}")

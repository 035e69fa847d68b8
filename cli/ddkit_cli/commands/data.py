"""`ddkit data`: which data sets have names, and what is in one."""

from contextlib import suppress

import click

from ddkit_cli.options import data_options, output_options


@click.command(short_help="list data sets, or look into one")
@click.argument("name", required=False)
@data_options
@output_options
def data(name: str | None, as_json: bool, quiet: bool, **flags: object) -> None:
    """List the data sets that have names, or show what NAME, a folder or an .npz file holds."""
    from ddkit_cli import display

    if name is None:
        from ddkit.data.sources.names import DATA

        if as_json:
            display.as_json(DATA.names())
            return
        display.say("names: " + ", ".join(DATA.names()))
        display.say(
            "also: a local folder (parquet or ImageFolder), an .npz file, a Hugging Face name "
            "(org/name)"
        )
        return
    from ddkit.data.options import DataOptions
    from ddkit.data.repeated import repeated
    from ddkit.data.sources.load import load, with_one_size
    from ddkit.runtime.errors import NoTestSplit
    from ddkit.runtime.settings import validated

    said = {key: value for key, value in flags.items() if value is not None}
    progress = display.progress_for(quiet or as_json)
    options = validated(DataOptions, {"name": name, **said}, "the data set")
    options = with_one_size(options, progress.note)
    splits, found = {"train": load(options, "train", progress=progress)}, None
    with suppress(NoTestSplit):  # the note of the training split says how to have one
        splits["test"] = load(options, "test", progress=progress)
        found = repeated(splits["train"], splits["test"], progress)
    if as_json:
        display.as_json(
            {"repeated": found and {"count": found.count, "same": found.same}}
            | {
                which: {
                    "images": len(split),
                    "shape": split.shape,
                    "classes": split.classes,
                    "counts": split.counts.tolist(),
                    "mirror": split.mirror,
                    "fingerprint": split.fingerprint,
                }
                for which, split in splits.items()
            }
        )
        return
    display.table(
        f"{name}: {len(splits['train'].classes)} classes",
        ["split", "images", "shape", "per class", "may be mirrored", "fingerprint"],
        [
            (
                which,
                str(len(split)),
                "×".join(map(str, split.shape)),
                f"{int(split.counts.min())} to {int(split.counts.max())}",
                "yes" if split.mirror else "no",
                split.fingerprint[:12],
            )
            for which, split in splits.items()
        ],
    )
    display.say(
        "classes: "
        + ", ".join(splits["train"].classes[:20])
        + (" …" if len(splits["train"].classes) > 20 else "")
    )
    if found is not None:
        display.say(found.sentence)

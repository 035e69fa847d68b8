"""The card of a set on the Hugging Face hub: what it is, how it was made, how it is loaded."""

import json
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import Tensor

from ddkit.distilled.interop.exchange import LabelKind, Outgoing

CARD = """---
pretty_name: {quoted}
license: unknown # fill in: that of the source data holds for what is made of them
task_categories:
- image-classification
tags:
- dataset-distillation
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---

# {title}

{count} synthetic images of {shape}, {each} for each of {classes} classes, that stand for a whole
data set when a network is trained. Written by [ddkit](https://pypi.org/project/ddkit) {version}.

| column | what it is |
|---|---|
| `image` | PNG; networks see {space} |
| `label` | the class, with its name |
{soft}
Learning rate: {rate}.

## Load it

```python
import datasets

data = datasets.load_dataset("OWNER/NAME", split="train")  # or the folder that this file lies in
```

In ddkit: `ddkit import FOLDER --format hf {flags} -o set.safetensors`.

## Licence

To be filled in, here and in the header of this file: that of the source data holds for images that
are made of them, and ddkit does not know it.

## Settings

{settings}
"""
SOFT = "| `soft_label` | {kind}, a number per class, for a loss with temperature {temperature} |\n"


def card(outgoing: Outgoing, soft: LabelKind | None) -> str:
    """Return the README.md of a set; `soft` is what its soft labels are, None without any.

    Nothing in it says where files lie on this machine.
    """
    distilled, space = outgoing.distilled, outgoing.distilled.space
    config = shared(distilled.metadata.get("config") or {})
    origin = distilled.metadata.get("imported")
    maker = f"a tool of the format {origin['format']}" if origin else config.get("method")
    title = f"{config['data']['name']}, distilled by {maker}" if config else f"A set of {maker}"
    counts = torch.bincount(outgoing.classes, minlength=len(outgoing.class_names)).tolist()
    temperature = f"{distilled.labels.temperature:g}"
    said, seen = {
        "standard": (
            f"--mean {listed(space.mean)} --std {listed(space.std)}",
            f"(pixels - mean) / std, of pixels in 0 to 1: mean {listed(space.mean)}, "
            f"std {listed(space.std)}",
        ),
        "unit": ("--space unit", "pixels in 0 to 1"),
        "zca": ("--data NAME --space zca", "pixels that the ZCA of the data whitens"),
        "zca-relative": (
            "--data NAME --space zca-relative",
            "standardised pixels that the ZCA of the data whitens, with a relative ridge",
        ),
    }[space.kind]
    rate = distilled.learning_rate
    return CARD.format(
        quoted=json.dumps(title),
        title=title,
        count=len(distilled),
        shape="×".join(map(str, distilled.shape)),
        each="–".join(map(str, sorted({min(counts), max(counts)}))),
        classes=len(counts),
        version=distilled.metadata["versions"]["ddkit"],
        space=seen,
        soft=SOFT.format(kind=soft, temperature=temperature) if soft else "",
        rate="none was learned" if rate is None else f"{rate:.6g} was learned with the images",
        flags=said + (f" --labels {soft} --temperature {temperature}" if soft else ""),
        settings=f"```toml\n{tomli_w.dumps(config)}```" if config else "They are not recorded.",
    )


def shared(value: Any) -> Any:
    """Return settings for others to read: paths by their last part, nothing that was left unset."""
    if isinstance(value, dict):
        return {key: shared(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [shared(each) for each in value if each is not None]
    path = isinstance(value, str) and (
        value.startswith((".", "/", "~")) or Path(value).is_absolute()
    )
    return Path(value).name if path else value


def listed(values: Tensor) -> str:
    return ",".join(f"{value:.6g}" for value in values.tolist())

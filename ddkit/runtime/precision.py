"""The words for how exactly networks compute, apart from torch: `--help` lists them."""

from typing import Literal

Precision = Literal["fp32", "tf32", "bf16"]
Compiled = Literal["auto", "on", "off"]

"""The options that say which images are used: which set, which classes, at which size."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator


def _classes(value: Any) -> Any:
    """Accept "cat,dog", "10", 10 and lists of names or indices."""
    if isinstance(value, int | str):
        value = str(value).split(",")
    if isinstance(value, list | tuple):
        return tuple(str(item).strip() for item in value)
    return value


def _range(value: Any) -> Any:
    """Accept "0.6" and 0.6 (up to 1), "0.4:0.9" and a pair."""
    if isinstance(value, str):
        value = tuple(float(part) for part in value.split(":"))
    if isinstance(value, int | float):
        value = (value,)
    return (value[0], 1.0) if isinstance(value, tuple) and len(value) == 1 else value


class DataOptions(BaseModel, extra="forbid", frozen=True):
    """Which images are used. The descriptions are what a user reads."""

    name: str = Field(
        "digits",
        min_length=1,
        description="a built-in name, a local folder (parquet files, or one folder per class), "
        "an .npz file, or a Hugging Face name such as org/name",
    )
    image_column: str | None = Field(
        None, description="the column of the images, where it is not evident"
    )
    label_column: str | None = Field(
        None, description="the column of the labels, where it is not evident"
    )
    classes: Annotated[tuple[str, ...] | None, BeforeValidator(_classes)] = Field(
        None,
        description="the classes that are kept: names or indices, separated by commas, "
        "or one number N for the first N classes",
    )
    resize: int | None = Field(
        None,
        gt=0,
        le=4096,
        description="the side in pixels: the shorter side is scaled to it, the rest cut off",
    )
    detail: int | None = Field(
        None,
        gt=0,
        le=4096,
        description="the side of the images that random crops are cut out of, antialiased; "
        "by default they are cut out of the images of the side `resize`",
    )
    holdout: float = Field(
        0.0, ge=0, lt=1, description="the fraction of each training class that is set aside"
    )
    imbalance: Annotated[tuple[float, float] | None, BeforeValidator(_range)] = Field(
        None,
        description="low:high, such as 0.4:1.0 (0.4 alone means the same): of each training class "
        "a random fraction between the two is kept",
    )
    flip: bool | None = Field(
        None, description="whether a mirrored image keeps its class; by default what the set says"
    )
    space: Literal["standard", "zca", "unit"] = Field(
        "standard",
        description="what networks see: standardised channels, ZCA-whitened images, or 0 to 1",
    )

    @field_validator("classes")
    @classmethod
    def _are_distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (not all(classes) or len(set(classes)) != len(classes)):
            raise ValueError("each class is named once, and none is empty")
        return classes

    @field_validator("imbalance")
    @classmethod
    def _is_a_range(cls, imbalance: tuple[float, float] | None) -> tuple[float, float] | None:
        if imbalance is not None and not 0 < imbalance[0] <= imbalance[1] <= 1:
            raise ValueError("the range must satisfy 0 < low <= high <= 1, such as 0.4:1.0")
        return imbalance

    @model_validator(mode="after")
    def _details_are_larger(self) -> "DataOptions":
        if self.detail is not None and not (self.resize and self.resize < self.detail):
            raise ValueError(
                f"detail {self.detail} needs a smaller resize, the side of the crops: "
                f"--resize 64 --detail 128 (got {self.resize})"
            )
        return self

    @property
    def tag(self) -> str:
        """The short name that presets are found by, such as "cifar10" or "tiny-imagenet-64".

        Size and class count are part of it: settings of the full set don't suit a part of it.
        """
        path = Path(self.name).expanduser()
        base = path.resolve().name if path.name in ("", "..") else path.name
        parts = [base.lower().replace("_", "-")]
        if self.resize is not None:
            parts.append(str(self.resize))
        if self.classes is not None:
            parts.append(f"{class_count(self.classes)}classes")
        return "-".join(parts)


def class_count(classes: tuple[str, ...]) -> int:
    """Return how many classes `--classes` asks for: one number alone is a count, not an index."""
    return int(classes[0]) if len(classes) == 1 and classes[0].isdecimal() else len(classes)

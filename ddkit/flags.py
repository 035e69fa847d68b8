"""Every flag of a run, once: its type and choices, default, bounds and words.

The options of the command line, the signature and the help of `ddkit.distill`, and the fields of
`RunConfig` and `DataOptions` are made of these classes. `ddkit --help` reads them: nothing that
takes long may be imported here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from ddkit.runtime.flag import Flag
from ddkit.runtime.loggers import Logger
from ddkit.runtime.precision import Compiled, Precision
from ddkit.runtime.progress import Progress

ViewForm = Literal["auto", "seed", "stored"]


@dataclass(eq=False, repr=False)
class MethodFlags:
    """Which method, on which data, and who does its stages: `resolve` makes fields of them."""

    method: Annotated[str, Flag("a method or an alias (see `ddkit methods`)", short="-m")] = "teddy"
    data: Annotated[
        str,
        Flag(
            "a name (see `ddkit data`), a local folder (parquet files, or one folder per class), "
            "an .npz file, or a Hugging Face name such as org/name",
            short="-d",
        ),
    ] = "digits"
    _: KW_ONLY
    preset: Annotated[
        str | None,
        Flag("published settings by name, or none", default="those that match data and ipc"),
    ] = None
    settings: Annotated[
        Mapping[str, Any] | Sequence[str],
        Flag(
            "an option of the method (`ddkit methods NAME` lists them); STAGE.KEY=VALUE for one "
            "stage",
            option="--set",
            metavar="KEY=VALUE",
        ),
    ] = ()
    steps: Annotated[
        int | None,
        Flag("synthesis steps, whatever the method's own option is called", default="the method's"),
    ] = None
    pool_from: Annotated[
        str | None, Flag("method whose pool of networks is used", metavar="METHOD")
    ] = None
    relabel_from: Annotated[str | None, Flag("method that labels the images", metavar="METHOD")] = (
        None
    )
    evaluate_from: Annotated[
        str | None, Flag("method whose own protocol `evaluate --own` uses", metavar="METHOD")
    ] = None
    config: Annotated[str | Path | None, Flag("repeat the run of this config.toml")] = None


@dataclass(eq=False, repr=False, kw_only=True)
class CommonFlags:
    """Flags that are fields of `RunConfig` as they are."""

    ipc: Annotated[int, Flag("synthetic images per class", ge=1)] = field(default=1, kw_only=False)
    network: Annotated[
        str,
        Flag(
            "such as resnet18, convnet:depth=3 or net.py:make",
            default="the method's, mostly convnet",
            metavar="SPEC",
        ),
    ] = "convnet"
    seed: Annotated[int, Flag("the distillation seed", ge=0)] = 0
    pool_seed: Annotated[int, Flag("the seed of the pool", default="--seed", ge=0)] = 0
    init: Annotated[str, Flag("what images start from", metavar="real|noise|FILE")] = "real"
    pool: Annotated[
        str | None, Flag("a finished pool (`ddkit pool list`), or its folder", metavar="NAME")
    ] = None
    store: Annotated[
        Literal["auto", "uint8", "float16", "float32"],
        Flag("how images are stored", default="uint8 where they are valid pixels"),
    ] = "auto"
    labels_as: Annotated[
        str,
        Flag(
            "how soft labels are stored: fp16, int8, top-k:K, or recipe (made while training)",
            default="as the method made them",
            metavar="FORM",
        ),
    ] = "auto"
    label_views: Annotated[
        ViewForm,
        Flag("how augmentations of labelled images are kept", default="as a seed where possible"),
    ] = "auto"
    factor: Annotated[
        int,
        Flag(
            "each stored image holds F x F training images (multi-formation), so --ipc N trains on "
            "N x F x F",
            default="the method's, mostly 1",
            metavar="F",
            later=True,
            ge=1,
        ),
    ] = 1
    groups: Annotated[
        int, Flag("distil the set in G independent parts and merge them", metavar="G", ge=1)
    ] = 1
    memory_budget: Annotated[
        str | int | None,
        Flag("memory limit of a step, such as 6.5GB; batches adapt to it", metavar="SIZE"),
    ] = None
    device: Annotated[str, Flag("cpu, cuda or cuda:N", default="cuda where there is one")] = "cpu"
    precision: Annotated[
        Literal["auto"] | Precision,
        Flag(
            "precision of the networks", default="float32 on a CPU, the fastest on CUDA (measured)"
        ),
    ] = "auto"
    compile: Annotated[
        Compiled,
        Flag("torch.compile for training pools", default="on CUDA, where it is faster"),
    ] = "auto"
    short_classes: Annotated[
        Literal["refuse", "repeat", "noise"],
        Flag(
            "what to do with a class with fewer real images than --ipc: refuse, repeat images with "
            "augmentation, or start from noise",
            later=True,
        ),
    ] = "refuse"
    trust_base: Annotated[
        bool, Flag("accept imported weights that do not seem to know these classes", later=True)
    ] = False
    minutes: Annotated[
        float | None,
        Flag(
            "time for the run on this device, without evaluations: smaller pools, fewer epochs and "
            "steps make it fit",
            later=True,
            gt=0,
        ),
    ] = None
    threads: Annotated[
        int,
        Flag(
            "CPU threads; the last bits of results depend on them",
            default="all available cores",
            ge=1,
        ),
    ] = 1


@dataclass(eq=False, repr=False, kw_only=True)
class DataFlags:
    """Which images are used: flags that are fields of `DataOptions`."""

    image_column: Annotated[
        str | None, Flag("column of the images, if it is not obvious", metavar="NAME")
    ] = None
    label_column: Annotated[
        str | None, Flag("column of the labels, if it is not obvious", metavar="NAME")
    ] = None
    classes: Annotated[
        str | int | Sequence[str] | None,
        Flag(
            "keep these classes (names or indices), those listed in a file, or the first N",
            metavar="A,B | FILE | N",
        ),
    ] = None
    resize: Annotated[
        int | None,
        Flag("scale and crop images to squares of this size", metavar="PIXELS", gt=0, le=4096),
    ] = None
    detail: Annotated[
        int | None,
        Flag(
            "cut random crops out of images of this size instead of --resize",
            metavar="PIXELS",
            gt=0,
            le=4096,
        ),
    ] = None
    test_share: Annotated[
        float | None,
        Flag(
            "share of each class to use as the test split of a set without one",
            metavar="SHARE",
            later=True,
            gt=0,
            lt=1,
        ),
    ] = None
    holdout: Annotated[
        float,
        Flag(
            "share of the training data to set aside", default="none", metavar="SHARE", ge=0, lt=1
        ),
    ] = 0.0
    imbalance: Annotated[
        str | float | tuple[float, float] | None,
        Flag("keep a random share of each training class", metavar="LOW[:HIGH]"),
    ] = None
    flip: Annotated[
        bool | None, Flag("whether images may be mirrored", default="what the set says")
    ] = None
    space: Annotated[
        Literal["standard", "zca", "zca-relative", "unit"],
        Flag(
            "what networks see: standardised, ZCA-whitened (MTT's, or FRePo's with a relative "
            "ridge), or 0 to 1"
        ),
    ] = "standard"
    background: Annotated[
        str | None,
        Flag("colour behind transparent images", metavar="COLOUR", default="white", later=True),
    ] = None
    bit_depth: Annotated[
        int | None,
        Flag(
            "bits per channel of images with more than 8",
            metavar="BITS",
            default="as many as the training images use",
            later=True,
            ge=8,
            le=32,
        ),
    ] = None


RUN_FLAGS = (MethodFlags, CommonFlags, DataFlags)  # all that says what a run is


@dataclass(eq=False, repr=False, kw_only=True)
class DistillFlags(DataFlags, CommonFlags, MethodFlags):
    """What `ddkit.distill` takes: those of the run, and how it is done."""

    out: Annotated[
        str | Path | None, Flag("folder for the run", default="under runs/", short="-o")
    ] = None
    overwrite: Annotated[bool, Flag("discard another run that --out holds")] = False
    snapshot_every: Annotated[
        int, Flag("save the images every N steps", default="never", metavar="N")
    ] = 0
    log: Annotated[
        str | Logger | None,
        Flag(
            "log losses, images and accuracies to tensorboard, wandb or others, comma-separated",
            metavar="NAMES",
        ),
    ] = None
    executor: Annotated[
        Literal["local", "ray"],
        Flag("where the work runs (docs/scale.md)", default="in this process"),
    ] = "local"
    address: Annotated[
        str | None,
        Flag(
            "address of a Ray cluster, or auto",
            default="start Ray on this machine",
            metavar="HOST:PORT",
        ),
    ] = None
    progress: bool | Progress = False

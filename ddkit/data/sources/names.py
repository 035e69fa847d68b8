"""The names of data sets; listing them imports no torch."""

from ddkit.runtime.registry import Registry

DATA = Registry(
    "data set",
    "ddkit.data",
    {
        "digits": "ddkit.data.sources.digits:digits",
        "mnist": "ddkit.data.sources.published:mnist",
        "fashion-mnist": "ddkit.data.sources.published:fashion_mnist",
        "kmnist": "ddkit.data.sources.published:kmnist",
        "cifar10": "ddkit.data.sources.published:cifar10",
        "cifar100": "ddkit.data.sources.published:cifar100",
        "svhn": "ddkit.data.sources.published:svhn",
        "stl10": "ddkit.data.sources.published:stl10",
    },
    hint="or a folder / a Hugging Face name such as org/name",
)

# images, classes and shape of training splits, so that much can be said without the data
SIZES = {
    "digits": (1437, 10, (1, 8, 8)),
    "mnist": (60_000, 10, (1, 28, 28)),
    "fashion-mnist": (60_000, 10, (1, 28, 28)),
    "kmnist": (60_000, 10, (1, 28, 28)),
    "cifar10": (50_000, 10, (3, 32, 32)),
    "cifar100": (50_000, 100, (3, 32, 32)),
    "svhn": (73_257, 10, (3, 32, 32)),
    "stl10": (5_000, 10, (3, 96, 96)),
    "tiny-imagenet": (100_000, 200, (3, 64, 64)),
    "imagenet-1k": (1_281_167, 1000, (3, 224, 224)),
}

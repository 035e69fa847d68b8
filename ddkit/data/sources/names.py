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

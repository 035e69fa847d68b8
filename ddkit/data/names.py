"""The names of data sets; listing them imports no torch."""

from ddkit.registry import Registry

DATA = Registry(
    "data set",
    "ddkit.data",
    {
        "digits": "ddkit.data.digits:digits",
        "mnist": "ddkit.data.published:mnist",
        "fashion-mnist": "ddkit.data.published:fashion_mnist",
        "kmnist": "ddkit.data.published:kmnist",
        "cifar10": "ddkit.data.published:cifar10",
        "cifar100": "ddkit.data.published:cifar100",
        "svhn": "ddkit.data.published:svhn",
        "stl10": "ddkit.data.published:stl10",
    },
    hint="or a folder / a Hugging Face name such as org/name",
)

"""The one door to torchvision."""

from types import ModuleType

from ddkit.runtime.errors import DdkitError


def torchvision() -> ModuleType:
    """Return the torchvision package, imported when it is first needed.

    Raises `DdkitError` where it is missing or was built for another torch. A CPU-only torch beside
    the ordinary torchvision wheel raises "operator torchvision::nms does not exist".
    """
    try:
        import torchvision as package
    except (ImportError, RuntimeError) as error:
        import torch

        reason = " ".join(str(error).split())
        raise DdkitError(
            f"torchvision does not fit the installed torch {torch.__version__} ({reason}); "
            "install both from the same build: pip install --force-reinstall torch torchvision"
        ) from error
    return package  # type: ignore[no-any-return]

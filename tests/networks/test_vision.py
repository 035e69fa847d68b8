import os
import subprocess
import sys

import pytest
import torch
import torchvision as package

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.vision import torchvision

CREATE = """
from ddkit.runtime.errors import DdkitError
from ddkit.networks import create
try:
    create("resnet18", classes=2, shape=(3, 8, 8), meta=True)
except DdkitError as error:
    print(error)
"""


def test_it_is_torchvision():
    assert torchvision() is package


def advice(reason: str) -> str:
    return (
        f"torchvision does not fit the installed torch {torch.__version__} ({reason}); install "
        "both from the same build: pip install --force-reinstall torch torchvision"
    )


def test_a_torchvision_built_for_another_torch_is_told_in_one_line(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", CREATE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == advice("operator torchvision::nms does not exist") + "\n"


def test_a_missing_torchvision_is_told_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DdkitError) as caught:
        torchvision()
    assert str(caught.value) == advice("import of torchvision halted; None in sys.modules")


def test_the_library_starts_without_it():
    code = "import sys, ddkit.pipeline.library; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

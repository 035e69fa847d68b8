"""On CUDA: what `python -m benchmarks.device check` checks there, which says more than this file.

The checks are in benchmarks/device/check, so that a machine without pytest can make them too.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_every_check_passes(tmp_path):
    words = ["check", "--device", "cuda", "--minutes", "10", "--results", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "benchmarks.device", *words], cwd=ROOT, check=False)
    (path,) = tmp_path.glob("check-*.json")
    found = json.loads(path.read_text())
    wrong = {line["name"]: line["found"] for line in found["lines"] if line["result"] != "passed"}
    assert not wrong
    assert not found["missing"]

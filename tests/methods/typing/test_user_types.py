"""Types reach the user: what is right passes mypy --strict, and each typo is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_mypy_finds_every_typo_and_nothing_else(tmp_path):
    pytest.importorskip("mypy")
    for name in ("user.py", "typo.py"):
        (tmp_path / name).write_text((HERE / f"{name}.txt").read_text(encoding="utf-8"))
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "user.py", "typo.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^(\S+):(\d+): error: .*\[(.+)\]$", result.stdout, re.MULTILINE)
    lines = (tmp_path / "typo.py").read_text(encoding="utf-8").splitlines()
    expected = [
        ("typo.py", str(number), line.split("# ")[1])
        for number, line in enumerate(lines, 1)
        if "  # " in line
    ]
    assert sorted(found) == sorted(expected), result.stdout

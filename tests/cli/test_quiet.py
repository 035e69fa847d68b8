"""Long commands say on stderr how far they are, and nothing with --quiet; stdout is the same."""

import re

import numpy as np
import pytest
from PIL import Image

TINY = ["--network", "convnet:width=4", "--threads", "1"]
STAGES = {
    "plan": (["plan", "-m", "random", *TINY], [r"rehearsal: 4/4 in \d+ s"]),
    "bench": (
        ["bench", "-m", "random", "--dry-run", "--networks", "convnet:width=4", "--epochs", "1"],
        [r"rehearsals: 1/1 in \d+ s"],
    ),
    "distill": (["distill", "-m", "random", *TINY], [r"synthesis: 0/0 in 0 s"]),
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_lines_on_stderr_and_quiet_leaves_them_out(called, name):
    arguments, stages = STAGES[name]
    code, _, err = called(*arguments)
    assert code == 0, err
    for stage in stages:
        assert len(re.findall(rf"^{stage}, \d+\.\d [MG]B$", err, re.MULTILINE)) == 1, err
    assert "\x1b" not in err
    assert "━" not in err
    more = ["--overwrite"] if name == "distill" else []
    code, _, err = called(*arguments, *more, "-q")
    assert (code, err) == (0, "")


def test_a_cache_that_is_built_says_so(called, tmp_path, monkeypatch):
    monkeypatch.setenv("DDKIT_TIER", "mapped")
    for which in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / which / name
            folder.mkdir(parents=True)
            for index in range(2):
                Image.fromarray(np.full((8, 8, 3), index, np.uint8)).save(folder / f"{index}.png")
    code, _, err = called("data", "photos")
    assert code == 0
    assert len(re.findall(r"^data: images of .*: 4/4 in \d+ s, .*$", err, re.MULTILINE)) == 2, err
    assert called("data", "photos", "-q")[2] == ""

"""What `ddkit pool` says of members of several architectures."""

import torch

from ddkit import networks
from ddkit.pools.tasks import Member, MemberTask
from ddkit.pools.training import train_pool

SPEC, WIDE = "convnet:depth=1:width=4", "convnet:depth=1:width=6"
DESCRIPTION = {"plugin": "teddy", "network": SPEC, "classes": 3, "shape": [1, 8, 8]}


def task(context):
    for number, spec in enumerate([None, WIDE]):
        made = networks.create(
            spec or SPEC, classes=3, shape=(1, 8, 8), generator=torch.Generator()
        )
        yield number, Member(made.state_dict(), "teacher", network=spec)


def test_the_networks_of_members_are_shown(ddkit, own_cache, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    tasks = [MemberTask("mixed", task)]
    train_pool(tasks, own_cache / "pools" / "mine", DESCRIPTION, run().space, torch.device("cpu"))
    row = next(line for line in ddkit("pool", "list").splitlines() if "mine" in line)
    assert f"{SPEC}, {WIDE}" in row
    shown = ddkit("pool", "inspect", "mine").splitlines()
    assert [line.count("width=6") for line in shown if "mixed 1" in line] == [1]

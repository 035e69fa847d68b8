"""Copies to a device: nothing waits, and what is there already stays as it is."""

import pytest
import torch
from torch import nn

from ddkit.labels import DrawnViews, EpochLabels
from ddkit.labels.coded import encoded
from ddkit.runtime.moving import SMALL, send, sent


@pytest.mark.parametrize("numbers", [1, SMALL // 4, SMALL // 4 + 1])
def test_the_host_does_not_wait_for_a_copy_to_another_device(away, numbers):
    found = sent(torch.zeros(numbers), away.device)
    assert found.device == away.device
    assert (away.sent, away.waited) == ([(numbers,)], [])


def test_more_than_travels_with_the_command_goes_by_pinned_memory(away, monkeypatch):
    pinned = []

    def pin(tensor):
        pinned.append(tensor.nbytes)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    for numbers in (SMALL // 4, SMALL // 4 + 1):
        sent(torch.zeros(numbers), away.device)
    assert pinned == [SMALL + 4]


def test_what_is_there_is_not_copied(away):
    here, there = torch.zeros(3), torch.zeros(3, device=away.device)
    assert sent(here, "cpu") is here
    assert sent(there, away.device) is there


def test_a_network_is_moved_in_place(away):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    weight = network[0].weight
    assert send(network, "cpu") is network
    assert network[0].weight is weight
    assert send(network, away.device) is network
    assert {tensor.device for tensor in network.state_dict().values()} == {away.device}
    assert (len(away.sent), away.waited) == (7, [])


@pytest.mark.parametrize("form", ["fp16", "int8", "top-k:2"])
def test_labels_too_large_to_move_go_to_the_device_once_an_epoch(away, monkeypatch, form):
    monkeypatch.setattr("ddkit.labels.epochs.MOVED_WHOLE", 0)
    logits = encoded(torch.randn(3, 8, 5).half(), form, 4.0)
    views = DrawnViews(0, 8, (4, 4), (1.0, 1.0), False, "none")
    labels = EpochLabels(logits, views).to(away.device)
    there = torch.arange(8, device=away.device)
    per_epoch = []
    for epoch in (0, 0, 1, 1, 3):  # the last starts over
        away.sent.clear()
        for rows in there.split(3):
            assert labels.targets(rows, epoch).shape == (len(rows), 5)
        per_epoch.append(len(away.sent))
    parts = len(labels.tensors())
    assert per_epoch == [parts, 0, parts, 0, parts]
    assert away.waited == []

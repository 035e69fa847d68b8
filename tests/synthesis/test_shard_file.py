"""Finished shards on disk: what they hold comes back, and together they are the set in order."""

import torch

from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.shard_file import ShardFile, assembled, initial_images
from ddkit.synthesis.shards import Shard

SLOTS = [torch.tensor([5, 0]), torch.tensor([2, 1, 4, 3])]


def written(folder, index: int, slots: torch.Tensor) -> ShardFile:
    """Write a shard whose images are as grey as their slots, which began half as grey."""
    grey = (slots / 10).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    images = Synthetic(grey.clone(), slots // 2, learning_rate=0.1 * (index + 1))
    file = ShardFile.of(folder, index)
    file.write(Shard(index, slots, slots // 2), images, grey / 2, torch.ones(3), 7 + index)
    return file


def test_shards_are_put_together_by_their_slots(tmp_path):
    files = [written(tmp_path, index, slots) for index, slots in enumerate(SLOTS)]
    files[0].checkpoint.write_bytes(b"on the way")  # is none of the finished ones
    assert [file.path for file in ShardFile.all_in(tmp_path)] == [file.path for file in files]
    whole = assembled(files, "float32")
    assert torch.allclose(whole.images[:, 0, 0, 0], torch.arange(6) / 10)
    assert whole.classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert abs(whole.learning_rate - 0.15) < 1e-12
    assert torch.allclose(initial_images(tmp_path, 6)[:, 0, 0, 0], torch.arange(6) / 20)
    assert initial_images(tmp_path, 7) is None
    assert [file.peak_bytes for file in files] == [7, 8]

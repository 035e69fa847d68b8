"""Files appear whole or not at all, and what is not a file of ddkit is refused in one line."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ddkit.runtime import files as storage
from ddkit.runtime import tensors
from ddkit.runtime.cache import cache_folder, stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import locked, replacing, write_json, write_text
from ddkit.runtime.tensors import TensorFile, optimiser_tensors, restore_optimiser, write_tensors


def refusal(function, *arguments) -> str:
    with pytest.raises(DdkitError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    before = names(tmp_path)

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == before


def write_tensor_file(path: Path) -> None:
    write_tensors(path, {"a": torch.zeros(3)})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    ("write", "patched"),
    [
        (lambda path: write_text(path, "new"), "pathlib.Path.write_text"),
        (write_tensor_file, "ddkit.runtime.tensors.save_file"),
    ],
    ids=["text", "tensors"],
)
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(
    tmp_path, monkeypatch, write, patched, number
):
    folder = tmp_path / "runs"
    folder.mkdir()

    def full(*arguments, **keywords):
        raise OSError(number, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(patched, full)
        message = refusal(write, folder / "a")
    assert message == (
        f"the disk is full: cannot write {folder / 'a'}; free some space and try again"
    )
    assert names(folder) == []


def test_a_full_disk_that_safetensors_reports_in_its_own_way(tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise storage.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensors, "save_file", full)
    message = refusal(write_tensor_file, tmp_path / "a")
    assert message.startswith(f"cannot write {tmp_path / 'a'}: ")
    assert "No space left on device" in message
    assert message.endswith("free some space and try again")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    message = refusal(write_text, tmp_path / "file" / "a.txt", "new")
    assert message.startswith(f"cannot write {tmp_path / 'file' / 'a.txt'}: ")
    assert message.endswith("choose another folder")


def test_colleagues_may_read_what_was_written(tmp_path):
    write_text(tmp_path / "a.txt", "")
    (tmp_path / "plain.txt").write_text("")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_json_is_the_same_whatever_the_order_of_its_keys(tmp_path):
    write_json(tmp_path / "a", {"b": 1, "a": [1, "ü"]})
    write_json(tmp_path / "b", {"a": [1, "ü"], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text()) == {"a": [1, "ü"], "b": 1}


TENSORS = {
    "x.a": torch.arange(6, dtype=torch.uint8).view(2, 3),
    "x.b": torch.tensor(2.5, dtype=torch.float64),
    "y": torch.arange(12.0).view(3, 4).T,  # not contiguous
    "empty": torch.zeros(0, 3),
}


def test_tensors_and_metadata_come_back(tmp_path):
    write_tensors(tmp_path / "a", TENSORS, {"ipc": 1, "names": ["ü"]})
    file = TensorFile(tmp_path / "a")
    assert file.metadata == {"ipc": 1, "names": ["ü"]}
    assert file.names == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(file[name], tensor)
        assert file[name].dtype == tensor.dtype
    assert file.read("x.").keys() == {"a", "b"}
    assert "y" in file
    assert file.get("z") is None


def test_equal_tensors_and_metadata_give_equal_bytes(tmp_path):
    write_tensors(tmp_path / "a", TENSORS, {"ipc": 1, "seed": 2, "names": ["a", "b"]})
    reordered = dict(reversed(TENSORS.items()))
    write_tensors(tmp_path / "b", reordered, {"names": ["a", "b"], "seed": 2, "ipc": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_one_tensor_may_be_stored_under_two_names(tmp_path):
    tensor = torch.arange(3.0)
    write_tensors(tmp_path / "a", {"a": tensor, "b": tensor, "part": tensor[1:]})
    file = TensorFile(tmp_path / "a")
    assert torch.equal(file["a"], tensor)
    assert torch.equal(file["b"], tensor)
    assert torch.equal(file["part"], tensor[1:])


def test_a_missing_file_and_a_missing_tensor_are_refused(tmp_path):
    assert refusal(TensorFile, tmp_path / "a") == f"no such file: {tmp_path / 'a'}"
    write_tensor_file(tmp_path / "a")
    assert refusal(TensorFile(tmp_path / "a").__getitem__, "b") == (
        f"{tmp_path / 'a'} has no tensor 'b'; it is of another kind or version"
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "a"
    write_tensors(path, {"a": torch.zeros(1000)}, {"ipc": 1})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    message = refusal(TensorFile, path)
    assert message.startswith(f"{path} is not a complete safetensors file (")
    assert "it may be truncated" in message


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"PK\x03\x04" + bytes(500))
    assert "is not a complete safetensors file" in refusal(TensorFile, path)
    assert "is not a complete safetensors file" in refusal(TensorFile, tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_of_others_are_refused(tmp_path, metadata):
    path = tmp_path / "a"
    save_file({"a": torch.zeros(3)}, path, metadata=metadata)
    assert refusal(TensorFile, path) == (
        f"{path} was not written by ddkit: its header has no 'ddkit' entry"
    )


LOCK = """
import sys
from pathlib import Path
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import locked
try:
    with locked(Path(sys.argv[1]), "the run"):
        print("held")
except DdkitError as error:
    print(error)
"""


def test_a_second_process_is_refused_and_let_in_afterwards(tmp_path):
    def second() -> str:
        return subprocess.run(
            [sys.executable, "-c", LOCK, tmp_path], capture_output=True, text=True, check=True
        ).stdout.strip()

    with locked(tmp_path, "the run"):
        assert second() == f"the run {tmp_path} is in use by another process; wait for it"
    assert second() == "held"


def test_the_lock_is_given_back_after_a_failure(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path, "the run"):
            raise KeyError


def test_the_cache_is_where_the_environment_says(own_cache, monkeypatch):
    assert cache_folder("pools") == own_cache / "pools"
    monkeypatch.delenv("DDKIT_CACHE")
    assert cache_folder("pools") == Path.home() / ".cache" / "ddkit" / "pools"


def test_the_hash_follows_from_the_value_alone():
    assert stable_hash({"a": 1, "b": [1.5, None]}) == stable_hash({"b": [1.5, None], "a": 1})
    assert stable_hash({"a": 1}) != stable_hash({"a": 2})
    assert len(stable_hash({"a": 1})) == 16


@pytest.mark.parametrize(
    "kind", [torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)]
)
def test_an_optimiser_goes_on_from_its_tensors(kind):
    def stepped(parameter, optimiser, times):
        for _ in range(times):
            optimiser.zero_grad()
            (parameter**3).sum().backward()
            optimiser.step()

    whole = torch.ones(3, requires_grad=True)
    stepped(whole, kind([whole]), 4)
    first = torch.ones(3, requires_grad=True)
    optimiser = kind([first])
    stepped(first, optimiser, 2)
    second = first.detach().clone().requires_grad_()
    other = kind([second])
    restore_optimiser(other, optimiser_tensors(optimiser))
    stepped(second, other, 2)
    assert torch.equal(second, whole)

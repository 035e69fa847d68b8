"""What is finished is on disk whole, and what is damaged is left as it is."""

import sqlite3
import threading
from multiprocessing import get_context
from pathlib import Path

import pytest

from ddkit import DdkitError
from ddkit.bench import store as store_module
from ddkit.bench.store import NAME, VERSION, Store

ABOUT = {"method": "toy", "seed": 0}


@pytest.fixture
def store(folder) -> Store:
    return Store(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_an_entry_is_found_again_by_another_process_as_it_was(store, folder):
    store.put("set", "key", ABOUT, {"bytes": 5, "labels": None, "rates": [0.1, 1e-300]})
    entry = Store(folder).get("set", "key")
    assert (entry.about, entry.error) == (ABOUT, None)
    assert entry.result == {"bytes": 5, "labels": None, "rates": [0.1, 1e-300]}
    assert entry.at


def test_what_is_not_there_is_none_and_kinds_do_not_mix(store):
    store.put("set", "key", ABOUT, 1)
    assert store.get("figure", "key") is None
    assert store.result("set", "other") is None
    assert store.all("figure") == []


def test_an_entry_is_replaced_in_its_place(store):
    for key in ("first", "second"):
        store.put("set", key, ABOUT, key)
    store.put("set", "first", {"method": "other"}, "again")
    assert [(e.key, e.result) for e in store.all("set")] == [
        ("first", "again"),
        ("second", "second"),
    ]
    assert store.get("set", "first").about == {"method": "other"}


def test_what_failed_has_no_result_until_it_is_done(store):
    store.fail("cell", "key", ABOUT, "the disk is full")
    assert store.result("cell", "key") is None
    assert store.get("cell", "key").error == "the disk is full"
    store.put("cell", "key", ABOUT, {"seconds": 1})
    assert store.get("cell", "key").error is None
    assert store.result("cell", "key") == {"seconds": 1}
    store.fail("cell", "key", ABOUT, "again")
    assert store.result("cell", "key") is None


def test_an_entry_is_written_whole_or_not_at_all(store, folder):
    store.put("set", "key", ABOUT, "whole")
    with pytest.raises(TypeError):
        store.put("set", "key", ABOUT, {"not": object()})
    assert Store(folder).result("set", "key") == "whole"


def test_a_folder_without_a_bench_is_not_made_one(folder):
    with pytest.raises(DdkitError, match="holds no bench") as refused:
        Store(folder, create=False)
    assert str(folder) in str(refused.value)
    assert not folder.exists()


def test_opening_a_store_that_is_up_to_date_writes_nothing(store, folder, monkeypatch):
    store.put("set", "key", ABOUT, 1)
    before = (folder / NAME).stat().st_mtime_ns
    writer = sqlite3.connect(folder / NAME)
    writer.execute("BEGIN IMMEDIATE")  # another process is writing
    monkeypatch.setattr(store_module, "WAIT_SECONDS", 0.1)
    assert Store(folder, create=False).result("set", "key") == 1
    writer.close()
    assert (folder / NAME).stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> bytes:
    """Return a store of a dozen pages."""
    folder = tmp_path_factory.mktemp("filled")
    store = Store(folder)
    for index in range(40):
        store.put("figure", f"key {index}", ABOUT, {"evaluation": "x" * 1000})
    return (folder / NAME).read_bytes()


def read_all(folder: Path) -> None:
    store = Store(folder)
    store.all("figure")
    for index in range(40):
        store.get("figure", f"key {index}")


DAMAGE = {
    "cut in half": lambda data: data[: len(data) // 2],
    "cut within a page": lambda data: data[: len(data) - 5000],
    "cut to its header": lambda data: data[:100],
    "garbage": lambda data: b"not a database, but text " * 1000,
    "garbage in the middle": lambda data: (
        data[:8192] + b"\x93" * (len(data) - 16384) + data[-8192:]
    ),
    "garbage in its first page": lambda data: data[:100] + b"\x93" * 3996 + data[4096:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_store_is_one_line_and_left_as_it_is(filled, folder, damage):
    path = folder / NAME
    folder.mkdir()
    path.write_bytes(damage(filled))
    before = files(folder)
    with pytest.raises(DdkitError, match="is damaged") as refused:
        read_all(folder)
    assert str(path) in str(refused.value)
    assert "move it away" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert files(folder) == before


def test_an_entry_that_is_no_json_is_one_line(store, folder):
    store.put("figure", "key", ABOUT, 1)
    with sqlite3.connect(folder / NAME) as database:
        database.execute("UPDATE entries SET result = '{\"evaluation'")
    with pytest.raises(DdkitError, match="is damaged"):
        store.all("figure")


def test_a_folder_in_its_place_is_one_line(folder):
    (folder / NAME).mkdir(parents=True)
    with pytest.raises(DdkitError, match="cannot use") as refused:
        Store(folder)
    assert "\n" not in str(refused.value)
    assert list(folder.iterdir()) == [folder / NAME]


def test_an_empty_file_is_an_empty_store(folder):
    folder.mkdir()
    (folder / NAME).touch()
    store = Store(folder)
    store.put("set", "key", ABOUT, 1)
    assert Store(folder).result("set", "key") == 1


def test_a_store_of_a_newer_ddkit_is_refused_and_left_as_it_is(store, folder):
    store.put("set", "key", ABOUT, 1)
    with sqlite3.connect(folder / NAME) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    before = files(folder)
    with pytest.raises(DdkitError, match="newer ddkit: update yours"):
        Store(folder)
    assert files(folder) == before


def write_many(folder: Path, writer: int) -> None:
    store = Store(folder)
    for index in range(100):
        store.put("figure", f"{writer} {index}", {"writer": writer}, index)
        store.put("cell", "shared", {}, writer)


def test_processes_that_write_at_once_lose_nothing(folder):
    context = get_context("fork")  # a new interpreter would take seconds to import torch
    writers = [context.Process(target=write_many, args=(folder, writer)) for writer in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    store = Store(folder)
    found = {entry.key: entry.result for entry in store.all("figure")}
    assert found == {f"{writer} {index}": index for writer in (1, 2) for index in range(100)}
    assert store.result("cell", "shared") in (1, 2)


def test_one_waits_while_another_writes(store, folder):
    other = sqlite3.connect(folder / NAME, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ending = threading.Timer(0.3, other.rollback)
    ending.start()
    store.put("set", "key", ABOUT, 1)
    ending.join()
    assert store.result("set", "key") == 1


def test_who_waits_in_vain_is_told_so_in_one_line(folder, monkeypatch):
    monkeypatch.setattr(store_module, "WAIT_SECONDS", 0.1)
    store = Store(folder)
    other = sqlite3.connect(folder / NAME)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DdkitError, match=r"cannot use .*locked.*; try again later"):
        store.put("set", "key", ABOUT, 1)
    other.close()

"""A bench's figures go to another machine and come back as they were, with its own folders."""

from ddkit.bench.store import Store


def test_entries_come_back_with_another_folder_of_data(tmp_path, benchmark):
    module = benchmark("bench_store")
    first, second = Store(tmp_path / "first"), Store(tmp_path / "second")
    first.put("figure", "a", {"data": "set", "seed": 0}, {"evaluation": {"accuracies": [0.5]}})
    first.put(
        "set",
        "b",
        {"name": "/here/set"},
        {"config": {"name": "/here/set", "init": "/here/bench/x"}},
    )
    first.fail("cell", "c", {"method": "dm"}, "lower the rate")
    entries = module.saved(first, ("/here/set", "/here/bench"))
    assert "/here" not in str(entries)
    module.load_into(second, entries, ("/there/set", "/there/bench"))
    assert second.result("figure", "a") == {"evaluation": {"accuracies": [0.5]}}
    assert second.get("set", "b").about == {"name": "/there/set"}
    assert second.result("set", "b")["config"] == {"name": "/there/set", "init": "/there/bench/x"}
    assert second.get("cell", "c").error == "lower the rate"

"""The table of papers' rows: what was kept, also by an earlier call, stands as it was measured."""

import json


def test_a_kept_row_shows_its_seconds_in_the_order_that_the_table_names(benchmark):
    published = benchmark("published")
    recipe = {"protocol": "dsa", "network": "convnet"}
    found = {
        "method": "random",
        "preset": "cifar10-ipc1",
        "published": [
            {**recipe, "accuracy": 15.4, "sd": 0.3, "where": "DC-BENCH"},
            {**recipe, "accuracy": 14.4, "sd": 2.0, "where": "DC, Table 1"},
        ],
        "accuracies": [[0.14, 0.16], [0.18]],
        "otherwise": [],
        "seconds": {"pool": 1, "synthesis": 2000, "evaluation": 3},
    }
    again = json.loads(json.dumps(found, sort_keys=True))  # as `write` keeps it

    assert published.cells(found) == [
        "random, cifar10-ipc1",
        "15.4 ± 0.3 (DC-BENCH); 14.4 ± 2.0 (DC, Table 1)",
        "16.0 ± 2.0",
        "2 × 2",
        "+0.6; +1.6",
        "nothing",
        "1, 2,000, 3",
    ]
    assert published.cells(again) == published.cells(found)

"""Networks trained on a set and tested on the made-up device: protocols, and forms of labels."""

import pytest

NORMS = "convnet:depth=2:width=8:norm=batch"
POOL = "relabel.unit=step relabel.first=1 relabel.last=3 relabel.every=2 relabel.train_batch=16"
EPOCHS = f"{POOL} relabel.recalibrate=24 relabel.label_epochs=2"
TEACHERS = "relabel.teachers=1 relabel.train_epochs=1 relabel.train_batch=16"


def teddys(protocols, **flags):
    """Return the request for random images with labels of epochs."""
    return {
        "method": "random",
        "relabel_from": "teddy",
        "settings": EPOCHS,
        "network": NORMS,
        "flags": flags,
        "protocols": protocols.split(),
    }


SETS = {
    "classes": {"method": "random", "protocols": ["dsa", "plain"]},
    "a label for each image": {
        "method": "random",
        "relabel_from": "apm",
        "settings": TEACHERS,
        "protocols": ["dsa-soft", "l1", "soft", "soft-aligned"],
    },
    "labels of epochs": teddys("dsa soft l1"),
    "int8, stored views": teddys("soft", labels_as="int8", label_views="stored"),
    "the two largest": teddys("soft", labels_as="top-k:2"),
    "a recipe": teddys("soft", labels_as="recipe"),
}
COMPARED = {
    "method": "random",
    "relabel_from": "teddy",
    "settings": EPOCHS,
    "network": NORMS,
    "compared": True,
}
every_set = pytest.mark.parametrize(
    "report", [*SETS.values(), COMPARED], ids=[*SETS, "compared"], indirect=True
)


@every_set
def test_networks_are_trained_and_tested(report):
    assert not report.error, report.error
    assert not report.faults


@pytest.mark.parametrize("report", SETS.values(), ids=SETS, indirect=True)
def test_seeds_train_as_one_network(whole):
    """That a batched training raised is hidden: seeds then train in turn."""
    for in_turn, at_once in whole.found["evaluated"]:
        assert (in_turn["together"], at_once["together"]) == (1, 2)


def test_a_set_is_compared_with_random_images_and_all_real_data(made_up):
    titles = " ".join(made_up(**COMPARED).found["compared"])
    assert "random" in titles
    assert "all real data" in titles


@every_set
def test_a_training_waits_for_its_last_loss_alone(whole):
    waits = whole.waits("fit", but=["_check_finite"])
    assert not waits, str(waits)


@every_set
def test_a_test_waits_once(whole):
    results = [result for results in whole.found["evaluated"] for result in results]
    tested = sum(len(result["accuracies"]) for result in results)
    rows = whole.found.get("compared", [])  # of one seed
    tested += len([title for title in rows if title != "random real images"])  # the set itself here
    assert whole.times_waited("accuracy") == tested, str(whole.waits("accuracy"))


@pytest.mark.parametrize("report", [SETS["labels of epochs"]], indirect=True)
def test_labels_wait_once_for_each_batch_of_an_epoch(whole):
    waits = whole.waits("label_epochs.<locals>.label")
    assert whole.times_waited("label_epochs.<locals>.label") == 2, str(waits)


@every_set
def test_figures_depend_on_no_order(whole):
    assert not (met := whole.atomics()), str(met)


@every_set
def test_products_and_convolutions_are_in_float32(whole):
    rounded = whole.roundings().without("ieee")
    assert not rounded, str(rounded)

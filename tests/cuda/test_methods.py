"""Every method on the made-up device: it runs, no step waits, bytes depend on no order.

Runs are as small as they can be; options are chosen so that every path of a method is taken once.
"""

import pytest

NORMS = "convnet:depth=2:width=8:norm=batch"
TEDDY = (
    "unit=step first=1 last=3 every=1 train_batch=16 recalibrate=24 teachers=2 iterations=3 "
    "label_epochs=2"
)
TESLA = (
    "experts=1 train_epochs=2 train_batch=16 expert_epochs=1 max_start_epoch=1 student_steps=2 "
    "iterations=2"
)
APM = "teachers=2 train_epochs=1 train_batch=16 student_epochs=2 checkpoints=2 rounds=3"
LOOPS = "updates=3 outer_loop=2 inner_epochs=1"
POOL = "members=2 train_epochs=2 train_batch=16"
REGRESSION = "updates=4 batch_real=12 networks=2"


def run(method, settings="", **fields):
    return {"method": method, "settings": settings, **fields}


RUNS = {
    "teddy": run("teddy", TEDDY, network=NORMS),
    "teddy, dsa": run("teddy", f"{TEDDY} augmentation=dsa", network=NORMS),
    "teddy, crops": run(
        "teddy",
        f"{TEDDY} statistics=exact augmentation=rrc-flip mix=mixup average=probabilities",
        network=NORMS,
    ),
    "teddy, classwise in segments": run(
        "teddy", f"{TEDDY} statistics=classwise segment=2 labels=image", network=NORMS
    ),
    "teddy, pruned copies": run(
        "teddy", f"{TEDDY} pool=post members=3 finetune_epochs=1 labels=hard", network=NORMS
    ),
    "teddy, in a budget": run("teddy", TEDDY, network=NORMS, flags={"memory_budget": "500MB"}),
    "sre2l": run("sre2l", TEDDY.replace("teachers=2 ", ""), network=NORMS),
    "sre2lpp": run("sre2lpp", TEDDY.replace("teachers=2 ", ""), network=NORMS),
    "cvdd": run(
        "cvdd",
        f"{TEDDY} networks={NORMS},{NORMS.replace('=8', '=4')} weights=holdout",
        network=NORMS,
        data={"holdout": 0.2},
    ),
    "tesla": run("tesla", TESLA),
    "fadrm": run(
        "fadrm",
        f"{TEDDY} teachers=1 phases=2 candidates=4 crops=2 jitter=1 choose=patches",
        network=NORMS,
    ),
    "tesla, rows on the host": run(
        "tesla",
        f"{TESLA} labels=learned batch_syn=2 snapshots=host snapshot_every=0 micro_batch=2",
    ),
    "tesla, batch norms": run("tesla", f"{TESLA} labels=last expert_dtype=bfloat16", network=NORMS),
    "tesla, paper": run("tesla", f"{TESLA} gradient=paper augmentation=none"),
    "ftd": run("ftd", TESLA),
    "datm": run("datm", f"{TESLA} skip_above=100"),
    "mtt, zca, groups": run("mtt", TESLA, data={"space": "zca"}, flags={"groups": 2}),
    "apm": run("apm", APM),
    "apm, rows on the host": run(
        "apm", f"{APM} batch_syn=4 student_every=2 student_augmentation=dsa distance=kl"
    ),
    "apm, dense": run("apm", f"{APM} batch_syn=4 dense_momentum=true segment=3"),
    "apm, in a budget": run("apm", APM, flags={"memory_budget": "500MB"}),
    "dm": run("dm", "updates=3"),
    "dm, batch norms": run("dm", "updates=3", network=NORMS),
    "dc": run("dc", LOOPS),
    "dsa, batch norms": run("dsa", LOOPS, network=NORMS),
    "idm": run("idm", "updates=4 queue=3 queue_every=2 queue_steps=2 batch_network=12"),
    "ncfm": run("ncfm", f"updates=3 frequencies=16 frequency_law=learned {POOL}", network=NORMS),
    "idc": run(
        "idc", f"updates=4 outer_loop=3 inner_images=16 batch_network=8 networks=trained {POOL}"
    ),
    "frepo": run("frepo", f"{REGRESSION} oldest=1"),
    "kip": run("kip", "updates=3 batch_real=12"),
    "rfad": run("rfad", REGRESSION),
    "rcig": run("rcig", f"{REGRESSION} network_steps=2 inner_steps=3"),
    "rcig, exact": run("rcig", f"{REGRESSION} network_steps=2 inner=exact"),
    "herding": run("herding", "train_epochs=1 train_batch=16"),
    "k-center": run("k-center", "features=pixels"),
    "rded": run("rded", "train_epochs=1 train_batch=16 collage=2 crops=2 label_epochs=2"),
    "random": run("random"),
}
STEPLESS = ("herding", "k-center", "random", "rded")
WAITS = {  # in a step: rows that rest on the host come back to it, and their momenta, for each leaf
    "tesla, rows on the host": 4,
    "apm, rows on the host": 2,
    "datm": 1,  # whether its loss is above the bound
}


every_run = pytest.mark.parametrize("report", RUNS.values(), ids=RUNS, indirect=True)
with_steps = {
    name: (fields, WAITS.get(name, 0)) for name, fields in RUNS.items() if name not in STEPLESS
}


@every_run
def test_it_runs(report):
    """Nothing is on two devices, no generator is of the wrong one, nothing is read too early."""
    assert not report.error, report.error
    assert not report.faults


@pytest.mark.parametrize(
    ("report", "expected"), with_steps.values(), ids=with_steps, indirect=["report"]
)
def test_no_step_waits_for_the_device(whole, expected):
    """But for the first, which brings to the device what stays there."""
    assert whole.later_steps > 0
    waits = whole.waits("later_step")
    assert whole.times_waited("later_step") == expected * whole.later_steps, str(waits)


@every_run
def test_no_training_waits_but_for_its_last_loss(whole):
    waits = whole.waits("fit", but=["first_step", "later_step", "_check_finite"])
    assert not waits, str(waits)


@every_run
def test_bytes_depend_on_no_order(whole):
    met = whole.atomics()
    assert not met, str(met)


@every_run
def test_products_and_convolutions_are_in_float32(whole):
    """As `--precision fp32` says, in every stage; or in float64, where a method needs it."""
    rounded = whole.roundings().without("ieee").without("float64")
    assert not rounded, str(rounded)

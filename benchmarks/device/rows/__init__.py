"""Published rows of CIFAR-10 with ConvNet-3: as much of each as its time allows, and what was cut.

DM has a process of its own, for it alone takes most of the time; TESLA comes last in the other, and
goes on for as long as there is time.
"""

from functools import partial

from benchmarks.device.parts import Item, Part
from benchmarks.device.rows.published import Published, lines

NOTE = (
    "Test accuracy in percent: mean and standard deviation over n networks, trained on hard labels "
    "under DSA as the protocol `dsa` says; of random images two networks on each of some sets. "
    "Published is the figure of the method's paper, for random images of DM's. Seconds are those "
    "of pool, synthesis and evaluation, while another row was at work beside it."
)
RANDOM = {1: ("14.4", 15), 10: ("26.0", 20), 50: ("43.4", 35)}
TEDDY = {10: ("53.0 ± 0.3", 35), 50: ("66.1 ± 0.1", 45)}


def item(row: Published, seconds: float, because: str) -> Item:
    return Item(row.title, partial(lines, row), seconds, because)


DM = Published("DM", 10, "48.9 ± 0.6", "dm", every=500, small=("batch_real=16",))
TESLA = Published(
    "TESLA",
    1,
    "48.5 ± 0.8",
    "tesla",
    every=20,
    settings=("experts=40", "train_epochs=6"),  # students end at an expert's epoch 6 at most
    small=("experts=2", "train_epochs=6", "together=1", "student_steps=3"),
)
LANES = (
    (item(DM, 340, "20,000 updates at 11 to 14 ms, 5 networks of 1000 steps"),),
    (
        *(
            item(
                Published("random images", ipc, published, "random", sets=5, networks=2),
                seconds,
                "5 sets, 10 networks",
            )
            for ipc, (published, seconds) in RANDOM.items()
        ),
        *(
            item(
                Published(
                    "Teddy",
                    ipc,
                    published,
                    "teddy",
                    norm=":norm=batch",
                    settings=("labels=hard",),
                    small=("labels=hard", "train_epochs=0", "last=6", "iterations=10"),
                ),
                seconds,
                "36 epochs of 0.3 s once, 1000 steps of 3 ms per 100 images, 5 networks",
            )
            for ipc, (published, seconds) in TEDDY.items()
        ),
        item(TESLA, 190, "240 epochs of 0.3 s, then 0.13 to 0.2 s an iteration, 5 networks"),
    ),
)
PART = Part("rows", __name__, 6, LANES, NOTE, needs_data=True)

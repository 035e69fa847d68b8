"""Our own methods keep the contract that others are asked to keep."""

from ddkit.testing import MethodContract

NETWORK = "convnet:depth=1:width=4:norm=batch"
TEACHER = ("teachers=2", "train_epochs=1", "train_batch=12")


class TestRandom(MethodContract):
    method = "random"


TEDDY = (
    "unit=step",
    "first=1",
    "last=3",
    "train_batch=12",
    "recalibrate=20",
    "batch_size=3",
    "label_epochs=2",
)


class TestTeddy(MethodContract):
    method = "teddy"
    network = NETWORK
    settings = (*TEDDY, "teachers=2")


class TestSre2lpp(MethodContract):
    method = "sre2lpp"
    network = NETWORK
    settings = (*TEDDY, "first=3", "label_batch=3")


class TestCvdd(MethodContract):
    method = "cvdd"
    network = NETWORK
    settings = (
        *TEDDY,
        f"networks={NETWORK},{NETWORK.replace('width=4', 'width=6')}",
        "weights=random",
        "label_batch=3",
    )


TESLA = (
    "experts=2",
    "train_epochs=2",
    "train_batch=12",
    "together=1",
    "student_steps=2",
    "expert_epochs=1",
    "batch_syn=4",
    "lr_images=1",
)


class TestTesla(MethodContract):
    method = "tesla"
    network = "convnet:depth=1:width=4"
    settings = (*TESLA, "max_start_epoch=1")


class TestFtd(MethodContract):
    method = "ftd"
    network = "convnet:depth=1:width=4"
    settings = (*TESLA, "max_start_epoch=1", "average=0.5")


class TestDatm(MethodContract):
    method = "datm"
    network = "convnet:depth=1:width=4"
    settings = (*TESLA, "max_start_epoch=2", "window=1", "window_steps=1", "skip_above=100")


class TestApm(MethodContract):
    method = "apm"
    network = "convnet:depth=1:width=4"
    settings = (
        *TEACHER,
        "together=1",
        "student_epochs=2",
        "checkpoints=2",
        "student_every=2",
        "batch_syn=4",
        "evaluation_epochs=2",
    )


class TestSelection(MethodContract):
    method = "herding"
    settings = TEACHER
    follows_seed = False  # it draws nothing


class TestRded(MethodContract):
    method = "rded"
    settings = (*TEACHER, "collage=2", "crops=2", "label_epochs=2")


class TestMatchingOfGradients(MethodContract):
    method = "dsa"
    network = "convnet:depth=1:width=4"
    settings = ("batch_real=8", "outer_loop=2", "inner_epochs=1")


class TestMatchingOfDistributions(MethodContract):
    method = "dm"
    network = NETWORK
    settings = ("batch_real=8",)


class TestIdm(MethodContract):
    method = "idm"
    network = NETWORK
    settings = (
        "batch_real=8",
        "queue=3",
        "queue_every=2",
        "queue_steps=2",
        "batch_network=12",
        "network_cutmix=0.5",
    )


class TestNcfm(MethodContract):
    method = "ncfm"
    network = NETWORK
    settings = (
        "members=2",
        "train_epochs=2",
        "train_batch=12",
        "together=1",
        "batch_real=8",
        "frequencies=16",
        "frequency_law=learned",
    )


class TestIdc(MethodContract):
    method = "idc"
    network = "convnet:depth=1:width=4"
    settings = (
        "batch_real=8",
        "batch_syn=1",
        "outer_loop=3",
        "inner_images=12",
        "batch_network=12",
    )


REGRESSION = ("batch_real=12", "networks=2", "lr_images=0.05", "lr_targets=0.05")


class TestFrepo(MethodContract):
    method = "frepo"
    network = NETWORK
    settings = (*REGRESSION, "oldest=1")  # so that networks are replaced


class TestKip(MethodContract):
    method = "kip"
    settings = ("batch_real=12",)


class TestRfad(MethodContract):
    method = "rfad"
    network = "convnet:depth=1:width=4:norm=none"
    settings = REGRESSION


RCIG = (*REGRESSION, "oldest=3", "network_steps=2")


class TestRcig(MethodContract):
    method = "rcig"
    network = "convnet:depth=1:width=4:norm=none"
    settings = (*RCIG, "inner_steps=3")


class TestRcigExactly(MethodContract):
    method = "rcig"
    network = "convnet:depth=1:width=4:norm=none"
    settings = (*RCIG, "inner=exact")

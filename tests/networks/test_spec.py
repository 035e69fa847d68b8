import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from ddkit.networks import NETWORKS, NetworkSpec, parse, spec_fingerprint
from ddkit.runtime.errors import DdkitError


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("convnet", NetworkSpec("convnet")),
        (
            "convnet:depth=3:norm=batch",
            NetworkSpec("convnet", None, {"depth": "3", "norm": "batch"}),
        ),
        ("nets/my.py:factory", NetworkSpec("factory", Path("nets/my.py"))),
        ("timm:resnet18d", NetworkSpec("timm", None, {"model": "resnet18d"})),
        ("my.py:factory:a=b=c", NetworkSpec("factory", Path("my.py"), {"a": "b=c"})),
    ],
)
def test_a_spec_is_a_name_or_a_file_with_a_factory_and_options(text, spec):
    assert parse(text) == spec


def test_a_home_folder_is_expanded():
    assert parse("~/net.py:make").path == Path.home() / "net.py"


def test_a_spec_can_be_a_key_although_options_are_a_dict():
    assert {parse("convnet:depth=2"): 1}[parse("convnet:depth=2")] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "convnte",
            "unknown network 'convnte': did you mean 'convnet'? (see `ddkit methods --networks`)",
        ),
        ("convnet:deep", "network 'convnet:deep': 'deep' is not an option; write key=value"),
        ("convnet:", "network 'convnet:': '' is not an option; write key=value"),
        ("convnet:depth=", "network 'convnet:depth=': 'depth=' is not an option; write key=value"),
        ("convnet:a=1:a=2", "network 'convnet:a=1:a=2': option 'a' is given twice"),
        ("timm", "network 'timm': name one of timm's, as in timm:resnet18d"),
        ("timm:a=1", "network 'timm:a=1': name one of timm's, as in timm:resnet18d"),
        ("my.py", "network 'my.py': name the function that builds it, as 'my.py:factory'"),
        ("my.py:a=1", "network 'my.py:a=1': name the function that builds it, as 'my.py:factory'"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(text, message):
    with pytest.raises(DdkitError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_listing_and_parsing_import_no_torch():
    code = (
        "import sys; from ddkit.networks import NETWORKS, parse; NETWORKS.names();"
        "parse('vit:depth=2'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_stands_for_a_factory():
    assert all(callable(NETWORKS.load(name)) for name in NETWORKS.builtins)


def test_the_fingerprint_of_a_name_is_its_spec():
    assert spec_fingerprint("convnet:depth=3") == "convnet:depth=3"


def test_the_fingerprint_of_a_file_follows_its_content(write):
    write("x = 1")
    digest = hashlib.sha256(b"x = 1").hexdigest()
    assert spec_fingerprint("net.py:make") == f"net.py:make@sha256:{digest}"
    write("x = 2")
    assert digest not in spec_fingerprint("net.py:make")


def test_the_fingerprint_of_a_missing_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DdkitError) as caught:
        spec_fingerprint("net.py:make")
    assert str(caught.value) == f"there is no network file 'net.py' (looked in {tmp_path})"

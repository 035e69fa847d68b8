"""`ddkit import` and `ddkit export` as a user gives them, and what other commands make of it."""

import json
from contextlib import nullcontext

import pytest
import torch

import ddkit
from ddkit.distilled.interop import formats
from ddkit.distilled.interop.formats import FORMATS, LAYOUTS
from ddkit.runtime.errors import DdkitError
from tests.distilled.interop.conftest import all_pixels, normalised

SOURCE = "res_DC_digits_ConvNet_2ipc.pt"
CONSTANTS = ("--mean", "0.3", "--std", "0.25")
TINY = "convnet:depth=1:width=4"


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, pixels):
    """Return a function that gives a command in a folder with a DC file: its stdout."""
    from ddkit_cli.main import ddkit as command_line

    monkeypatch.chdir(tmp_path)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    torch.save({"data": [[normalised(pixels), labels]], "accs_all_exps": {}}, SOURCE)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        command_line.main(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture(autouse=True)
def one_child(monkeypatch, files):
    """Let all imports be read by the one child of the tests."""
    monkeypatch.setattr(
        "ddkit.distilled.interop.importing.UntrustedFiles", lambda: nullcontext(files)
    )


def test_a_set_without_its_data_is_shown_and_trained_on_and_no_more(command, pixels):
    out = ("-o", "a.safetensors")
    said = command("import", SOURCE, *out, *CONSTANTS, "--classes", "no,one,two", "--no-flip")
    assert "mean 0.3, std 0.25" in said
    assert said.splitlines()[-1] == "next: ddkit show a.safetensors"
    found = ddkit.load("a.safetensors")
    assert torch.allclose(all_pixels(found), pixels, atol=1e-6)
    assert (found.class_names, found.metadata["mirror"]) == (["no", "one", "two"], False)
    sheet = command("inspect", "a.safetensors")
    for part in (f"{SOURCE}, format dc", "no, one, two", "not said"):
        assert part in sheet
    assert "contact-sheet.png" in command("show", "a.safetensors")
    command("train", "a.safetensors", "--network", TINY, "--epochs", "1", "--out", "w", "-q")
    for more in (
        ("evaluate", "a.safetensors"),
        ("relabel", "a.safetensors", "-o", "b"),
        ("merge", "a.safetensors", SOURCE, "-o", "b"),
    ):
        with pytest.raises(DdkitError):
            command(*more)
    with pytest.raises(DdkitError, match="import it again with --data"):
        command("evaluate", "a.safetensors")


def test_a_set_with_its_data_is_evaluated_relabelled_and_merged(command, tmp_path, pixels):
    data = ("--data", "digits", "--classes", "0,1,2")
    said = command("import", SOURCE, "-o", "a.safetensors", *data, *CONSTANTS)
    assert said.splitlines()[-1] == "next: ddkit evaluate a.safetensors"
    torch.save({"data": [[normalised(1 - pixels), torch.tensor([0, 0, 1, 1, 2, 2])]]}, "other.pt")
    command("import", "other.pt", "--format", "dc", "-o", "b.safetensors", *data, *CONSTANTS)
    command("merge", "a.safetensors", "b.safetensors", "-o", "both.safetensors")
    assert ddkit.load("both.safetensors").config["ipc"] == 4
    command("relabel", "both.safetensors", "-o", "again.safetensors", "-q")
    assert len(ddkit.load("again.safetensors")) == 12
    assert "imported on digits, ipc 4" in command("inspect", "both.safetensors")
    rows = json.loads(
        command(
            "evaluate",
            "again.safetensors",
            "--networks",
            TINY,
            "--epochs",
            "1",
            "--seeds",
            "1",
            "--no-real",
            "--json",
            "-q",
        )
    )
    assert [row["set"] for row in rows] == ["imported", "random real images"]


def test_constants_of_the_data_are_said_to_be_theirs(command):
    data = ("--data", "digits", "--classes", "0,1,2")
    data += ("--trust", "pixels")  # noise, of another brightness than digits
    said = command("import", SOURCE, "-o", "a.safetensors", *data)
    assert "those of the data; many tools have others" in said
    figures = json.loads(command("import", SOURCE, "-o", "b.safetensors", *data, "--json"))
    assert figures["mean"] != [0.3]
    assert figures["format"] == {"format": "dc", "name": SOURCE}


def test_class_names_may_be_in_a_file(command, tmp_path):
    (tmp_path / "names.txt").write_text("no\none\ntwo, or more\n")
    command("import", SOURCE, "-o", "a.safetensors", *CONSTANTS, "--classes", "names.txt")
    assert ddkit.load("a.safetensors").class_names == ["no", "one", "two, or more"]


def test_an_export_says_what_it_could_not_hold(command, tmp_path):
    command("import", SOURCE, "-o", "a.safetensors", *CONSTANTS, "--classes", "a,b,c")
    said = command("export", "a.safetensors", "--format", "sre2l", "-o", "out").splitlines()
    assert said[0] == "out: sre2l"
    assert "note: images are JPEG files, which are not exact" in said
    assert "note: pixels are rounded to 256 values, and clipped to them" in said
    line = "import torchvision; data = torchvision.datasets.ImageFolder('out')"
    assert said[-1] == f"load it: {line}"
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 6
    told = json.loads(command("export", "a.safetensors", "--format", "sre2l", "-o", "b", "--json"))
    assert told["load"] == line.replace("out", "b")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--classes", "a,b,c"), "--mean and --std, --data, or --space unit"),
        (CONSTANTS, "--classes A,B,C, a file, or --data"),
        (("--classes", "a,b,c", "--mean", "0.3"), "belong together"),
        (("--classes", "a,b,c", "--mean", "x", "--std", "1"), "give comma-separated numbers"),
        (("--classes", "a,b,c", "--mean", "0.3", "--std", "0"), "above 0"),
        (("--classes", "a,a,c", *CONSTANTS), "name each class once"),
        (("--classes", "a,b,c", "--space", "zca"), "--space zca describes the data"),
        (("--classes", "a,b,c", "--resize", "8", *CONSTANTS), "--resize describes the data"),
        (("--classes", "a,b", *CONSTANTS), "labels from 0 to 2, but 2 classes were named"),
        (
            ("--classes", "a,b,c", "--factor", "2", *CONSTANTS),
            "--factor does not apply to --format dc",
        ),
        (("--classes", "a,b,c", "--fkd", "x", *CONSTANTS), "--fkd does not apply to --format dc"),
        (("--classes", "a,b,c", "--space", "unit", *CONSTANTS), "for --space standard, not unit"),
        (("--data", "digits", "--network", "convent"), "did you mean 'convnet'?"),
    ],
)
def test_a_wrong_import_gets_one_line_and_no_file(command, tmp_path, arguments, words):
    with pytest.raises(DdkitError) as caught:
        command("import", SOURCE, "-o", "a.safetensors", *arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.safetensors").exists()


def test_what_is_there_is_not_replaced_unasked(command, tmp_path):
    said = ("import", SOURCE, "-o", "a.safetensors", *CONSTANTS, "--classes", "a,b,c")
    command(*said)
    with pytest.raises(DdkitError, match="already exists"):
        command(*said)
    command(*said, "--overwrite")
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DdkitError, match="not a complete distilled set"):
        command(
            "import", SOURCE, "-o", "thesis.tex", *CONSTANTS, "--classes", "a,b,c", "--overwrite"
        )
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_export_needs_a_place(command):
    command("import", SOURCE, "-o", "a.safetensors", *CONSTANTS, "--classes", "a,b,c")
    export = ("export", "a.safetensors", "--format")
    for arguments, words in (
        ((*export, "hf"), "no target"),
        ((*export, "dc", "--push", "owner/name"), "--push is for --format hf"),
        ((*export, "hf", "--push", "name"), "OWNER/NAME"),
        ((*export, "hff", "-o", "x"), "unknown format 'hff'"),
        ((*export, "dc", "-o", "a.safetensors", "--overwrite"), "would replace the set itself"),
    ):
        with pytest.raises(DdkitError, match=words):
            command(*arguments)


def test_the_hubs_refusal_is_one_line(command, monkeypatch):
    import huggingface_hub

    def refuse(self, name, **said):
        raise ConnectionError(f"no network for {name}\nat all")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    command("import", SOURCE, "-o", "a.safetensors", *CONSTANTS, "--classes", "a,b,c")
    with pytest.raises(DdkitError, match="did not accept owner/name") as caught:
        command("export", "a.safetensors", "--format", "hf", "--push", "owner/name")
    assert "\n" not in str(caught.value)


def test_every_format_is_listed_and_is_a_layout(command):
    for which in ("import", "export"):
        text = command(which, "--help")
        for name, what in LAYOUTS.items():
            assert f"{name:<12}{what}" in text
    for name in FORMATS.names():
        layout = formats.layout_of(name)
        assert isinstance(layout.FOLDER, bool)
        assert all(map(callable, (layout.recognises, layout.read, layout.write)))

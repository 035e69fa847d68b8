"""`ddkit new-plugin` refuses what cannot be a method's name, and writes all or nothing."""

import pytest


def test_it_says_what_it_wrote_and_what_comes_next(ddkit, tmp_path):
    out = ddkit("new-plugin", "my-method")
    assert "wrote ddkit-my-method: its method is in ddkit_my_method.py" in out
    assert sorted(path.name for path in (tmp_path / "ddkit-my-method").iterdir()) == [
        "README.md",
        "ddkit_my_method.py",
        "pyproject.toml",
        "test_ddkit_my_method.py",
    ]
    assert [path.name for path in tmp_path.glob(".ddkit-*")] == []


@pytest.mark.parametrize("name", ["1abc", "my_method", "Mine", "my--method", "mine-", "µ", "a b"])
def test_what_can_be_no_name_is_refused(name, refused, tmp_path):
    line = refused("new-plugin", name)
    assert line.startswith(f"error: '{name}' is not a name for a method: begin with a letter")
    assert list(tmp_path.glob("ddkit-*")) == []


def test_the_name_of_another_method_is_refused_with_its_distribution(refused):
    line = refused("new-plugin", "random")
    assert line == "error: ddkit 0.1.0 already has a method 'random': choose another name"


def test_the_name_of_an_alias_is_refused(refused):
    assert "already has a method 'sre2l'" in refused("new-plugin", "sre2l")


def test_a_name_whose_module_is_installed_is_refused(refused):
    assert "a package ddkit_cli is already installed" in refused("new-plugin", "cli")


def test_an_existing_folder_is_refused_and_left_alone(refused, tmp_path):
    folder = tmp_path / "ddkit-mine"
    folder.mkdir()
    (folder / "notes").write_text("mine")
    assert refused("new-plugin", "mine") == (
        "error: ddkit-mine exists: choose another name, or another folder (--out)"
    )
    assert [path.name for path in folder.iterdir()] == ["notes"]


def test_a_folder_that_cannot_be_made_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused("new-plugin", "mine", "--out", "file/below")
    assert line.startswith("error: cannot write file/below: ")

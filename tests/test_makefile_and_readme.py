"""What the first page promises is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_first_screen_has_a_sentence_a_table_two_commands_and_a_plugin():
    screen = README.split("## Install")[0]
    lines = [line for line in screen.splitlines() if line.strip()]
    assert lines[0] == "# ddkit"
    assert lines[1].endswith(".")
    assert "| random real images |" in screen
    assert "make demo" in screen
    assert "ddkit distill" in screen
    assert "@hookimpl" in screen


def test_the_plugin_on_the_first_screen_is_whole(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    (tmp_path / "my_method.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_method

    from ddkit import Objective

    assert issubclass(my_method.Darker, Objective)
    assert hasattr(my_method.synthesis_loss, "ddkit_impl")


SHORTER = {'"updates": 50': '"updates": 1', "epochs=50": "epochs=1", "range(300)": "range(2)"}


def test_the_code_for_users_runs_with_fewer_steps(tmp_path, monkeypatch, capsys):
    import shutil

    from torch import nn

    use = README.split("## Use")[1]
    for part, shorter in SHORTER.items():
        assert use.count(part) == 1
        use = use.replace(part, shorter)
    making, training = re.findall(r"```python\n(.*?)```", use, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(making, made := {})  # noqa: S102 - it is ours
    assert len(made["small"]) == 10
    assert "random real images" in capsys.readouterr().out
    shutil.copy(made["small"].file.path, "distilled.safetensors")
    exec(training, {"network": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))})  # noqa: S102


def test_every_subcommand_is_on_the_page():
    from ddkit_cli.main import COMMANDS

    for name in COMMANDS.builtins:
        assert f"ddkit {name}" in README, name


def test_ignored_lint_rules_say_why():
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ignored = settings.split("[tool.ruff.lint]")[1].split("ignore = [")[1].split("]")[0]
    rules = [line for line in ignored.splitlines() if line.strip()]
    assert all("#" in line or line.strip().strip('",').startswith("RUF00") for line in rules)

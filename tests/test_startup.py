"""What starts without torch: importing ddkit, listing names, asking for help."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import ddkit",
        "import ddkit_cli.main",
        "from ddkit.data.sources.names import DATA; DATA.names()",
        "import ddkit.networks; ddkit.networks.NETWORKS.names()",
        "from ddkit.methods.plugin import METHODS, ALIASES; METHODS.names(); ALIASES.names()",
    ],
)
def test_importing_and_listing_names_import_no_torch(code):
    assert loads_torch(code) is False


@pytest.mark.parametrize("arguments", ["--help", "methods", "methods --networks", "data --help"])
def test_the_command_line_answers_without_torch(arguments):
    code = (
        f"import sys; sys.argv = ['ddkit', *{arguments.split()!r}]\n"
        "from ddkit_cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert loads_torch(code) is False


def loads_torch(code: str) -> bool:
    """Return whether `code`, in a fresh interpreter, imports torch."""
    program = f"{code}\nimport sys\nprint('TORCH' if 'torch' in sys.modules else 'NONE')"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1] == "TORCH"

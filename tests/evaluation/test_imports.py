from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "jinja2", "sklearn", "torch", "scipy.stats")


@pytest.mark.parametrize("module", HEAVY)
def test_heavy_packages_are_loaded_only_when_needed(module: str) -> None:
    code = f"import sys, reeltag.evaluation; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

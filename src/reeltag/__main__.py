"""``python -m reeltag``."""

from reeltag.cli import main

main()

"""The program's start: `firexlite ...` and `python -m firexlite ...`."""
from __future__ import annotations

import sys


def main() -> None:
    """Put on the FireX skin, which costs nothing until something of FireX is imported, and run the command."""
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:  # without click, it is there at once
        from .version import __version__

        print("firexlite", __version__)
        return
    from .compat import install

    install()
    if sys.argv[1:2] == ["--outpost"]:  # what a Dask worker starts for a run
        from .executors.outpost import main as be_outpost

        sys.exit(be_outpost(*sys.argv[2:]))
    from .cli import run

    run()


if __name__ == "__main__":
    main()

"""The program's start: `firexlite ...` and `python -m firexlite ...`."""
from __future__ import annotations


def main() -> None:
    """Put on the FireX skin, which costs nothing until something of FireX is imported, and run the command."""
    from .cli import run
    from .compat import install

    install()
    run()


if __name__ == "__main__":
    main()

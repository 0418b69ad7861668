"""``python -m rtsearch`` is the command ``rtsearch``."""

from rtsearch.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()

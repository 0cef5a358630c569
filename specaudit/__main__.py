"""``python -m specaudit`` is the ``specaudit`` command."""

from specaudit.cli import main

if __name__ == "__main__":
    main()

"""``python -m specaudit`` is the ``specaudit`` command."""

import sys

if __name__ == "__main__":
    # Python puts the working directory first: a module beside a stranger's model would be
    # imported in place of NumPy. It stays where it is what holds this program.
    if not sys.flags.safe_path and not __file__.startswith(sys.path[0]):
        del sys.path[0]

    from specaudit.cli import main

    main()

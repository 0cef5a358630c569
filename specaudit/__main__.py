"""``python -m specaudit`` is the ``specaudit`` command."""

import os
import sys

if __name__ == "__main__":
    # Python puts the working directory first: a module beside a stranger's model would be
    # imported in place of NumPy. It stays where it is what holds this program.
    if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
        del sys.path[0]

    from specaudit.cli import main

    main()

"""Every check there is; `python -m tests` runs them."""

"""Settings of the whole suite."""

from hypothesis import settings

# The same examples on every machine, and no clock: CI is no place to meet a new one by chance.
# `pytest --hypothesis-profile=default` looks further.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

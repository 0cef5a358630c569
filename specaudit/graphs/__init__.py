"""A Graph made ready: functions inlined, constants folded, shapes inferred."""

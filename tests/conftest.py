"""Settings that all tests share."""

from hypothesis import settings

# Timings on shared machines say nothing about faults.
settings.register_profile("no_deadline", deadline=None, derandomize=True)
settings.load_profile("no_deadline")

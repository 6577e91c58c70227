"""A study that runs in milliseconds, for tests of the workflow; no rule knows it."""

"""Number probes: how a language model holds a number in its residual stream."""

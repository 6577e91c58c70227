"""Training of toy models: full batches, stacked replicates, resumable to the last bit."""

"""Probes of hidden states: linear ones on stacked replicates, and those that code for numbers."""

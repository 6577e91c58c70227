"""Figures of the number probes study."""

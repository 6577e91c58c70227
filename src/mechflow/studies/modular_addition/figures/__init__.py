"""Figures of the modular addition study, by theme."""

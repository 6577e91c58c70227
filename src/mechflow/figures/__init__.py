"""Figures: their style, their data, and how they are saved."""

"""Reproducible pipelines for mechanistic interpretability."""

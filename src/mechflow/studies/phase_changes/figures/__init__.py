"""Figures of the phase changes study, one module for each subject."""

"""Typed configuration: declarations of every key, and the only reader of YAML."""

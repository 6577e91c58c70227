"""Binarised modular addition: do full, binary and ternary transformers learn one algorithm?"""

"""The studies: one package each, declared without importing torch, found by the registry."""

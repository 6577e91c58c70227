"""Models: the hooked toy transformer, its quantised weights and its fast exact forwards."""

"""Phase changes: when, and how sharply, does a capability appear, and what circuit with it?"""

"""Pretrained language models: where they come from, and what is read from and done to them.

The modules of this package are imported one by one: `packaged`, `errors` and `folder` are read
while a workflow is parsed and import neither torch nor transformers, the others import both.
"""

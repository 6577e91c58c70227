"""Side-by-side speed measurements: the notebooks' loops against the package."""

"""Thin adapters to what others made. Each module needs the package that it is called after."""

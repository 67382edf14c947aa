"""Shared mathematics and media input/output; knows no stage."""

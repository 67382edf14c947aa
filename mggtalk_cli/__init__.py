"""One photo to a 3D Gaussian talking head: a toolkit of composable stages (see `pipeline.py`)."""

__version__ = "0.1.0"

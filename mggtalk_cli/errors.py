"""The errors users see: one line that says what is wrong, the value, and what to do.

`cli/app.py` alone turns them into one line on stderr and exit code 1; everything else propagates.
"""

from __future__ import annotations


class MggTalkError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(MggTalkError):
    """A photo, clip, sound, option or path the user gave cannot be used."""


class ArtifactError(MggTalkError):
    """A `.npz` or `.ply` is of the wrong kind, damaged, too new or unsafe."""


class WeightsError(MggTalkError):
    """A model file is missing, has the wrong hash or does not fit its network."""


class BackendError(MggTalkError):
    """The chosen device or renderer cannot do what was asked."""

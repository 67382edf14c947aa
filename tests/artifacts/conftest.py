"""Fixtures: a valid artifact of every kind, a head, a points sequence."""

from __future__ import annotations

import pytest
from artifact_samples import KIND_NAMES, Sample, make_sample


@pytest.fixture(params=KIND_NAMES)
def sample(request: pytest.FixtureRequest) -> Sample:
    return make_sample(request.param)


@pytest.fixture
def head() -> Sample:
    return make_sample("head")


@pytest.fixture
def points() -> Sample:
    return make_sample("points")

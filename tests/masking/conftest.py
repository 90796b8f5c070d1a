from __future__ import annotations

import pytest

from hoop_mcp.masking.detect import Detector


@pytest.fixture(scope="session")
def detector():
    """All rules, compiled once for the suite."""
    return Detector()

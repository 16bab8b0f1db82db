import pytest

from probes import Recorder


@pytest.fixture
def recorder():
    return Recorder

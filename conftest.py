"""For the tests and for the examples of the docstrings alike."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """The same draws in whatever order, and in whichever process, the tests run."""
    torch.manual_seed(0)

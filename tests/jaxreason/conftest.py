"""What the tests of several rooms share."""

import jaxtyping
import pytest


@pytest.fixture
def as_users_run_it():
    """Switches the checks of annotations off, which would come before the library's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

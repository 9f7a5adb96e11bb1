"""What the tests of several rooms share."""

import jax
import jaxtyping
import pytest


@pytest.fixture
def compilations():
    """A list that grows by one name with every program that is compiled."""
    events = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def as_users_run_it():
    """Switches the checks of annotations off, which would come before the library's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

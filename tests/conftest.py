"""Settings of the whole suite."""

import os

from hypothesis import HealthCheck, settings

# No test asserts how fast the machine is, and CI tries the same examples each time.
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("project")

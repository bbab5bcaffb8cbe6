"""What every test has in common."""

from hypothesis import HealthCheck, settings

# Machines differ and are shared: how long one example takes is no fact about the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")

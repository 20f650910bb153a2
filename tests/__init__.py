"""
The suite, mirroring the package.

How fast the machine is at this moment fails no test: that is what bench is
for.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

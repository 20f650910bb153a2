"""
One target under atheris, until it finds something or its time is over.

    python -m fuzz.one TARGET [libFuzzer options and folders]
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # a tool, not a dependency

with atheris.instrument_imports(include=["sipxha"]):
    from fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    # Most of what decides here is in patterns.
    atheris.enabled_hooks.add("RegEx")
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()

"""
What the nodes have in common that note something while they run: they are
twistd, with a method replaced here and there, and leave a file behind.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.scripts.twistd import run


def replace(owner: type, name: str, put: Callable[..., Any]) -> None:
    """
    Put another method in the place of one.
    """
    setattr(owner, name, put)


def be_twistd(file: str, noted: Callable[[], Any]) -> None:
    """
    Be twistd, and write as JSON what was noted by its end.

    @param file: Its name, beside the configuration.
    """
    sys.argv = sys.argv[1:]
    try:
        run()
    finally:
        path = Path(sys.argv[sys.argv.index("--config") + 1]).parent / file
        path.write_text(json.dumps(noted()))

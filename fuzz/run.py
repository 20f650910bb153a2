"""
Fuzz what strangers and peers send: all targets, one after the other.

    python -m fuzz.run [--seconds 60] [--target NAME ...]

Begins with the messages of the test corpus and their pieces.  What a target
stumbles over is kept in tests/corpus/found/TARGET, named by its hash; commit it
together with the correction.  Needs atheris.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from fuzz.targets import TARGETS

# ruff: noqa: T201  (a command, which prints)

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "corpus"
LONGEST = 4096

_FIELDS = (b"via", b"v:", b"from", b"f:", b"to", b"t:", b"contact", b"m:", b"route", b"record-route", b"cseq")

HTTP = (
    b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n",
    b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: TE, close\r\n\r\nuntil the end",
)
"""Good messages of both directions."""


def seeds(target: str) -> list[bytes]:
    """
    What to begin with: whole messages, or the values in them.
    """
    messages = [path.read_bytes() for path in sorted((CORPUS / "rfc4475").glob("*.dat"))]
    if target == "parser":
        return messages
    if target == "framing":
        return [b"\x07" + message for message in messages] + [b"\x03" + b"".join(messages[:3])]
    if target == "auth_fields":
        return [path.read_bytes() for path in sorted((CORPUS / target).glob("*.txt"))]
    if target == "http1":
        return [b"\x05" + text for text in HTTP]
    lines = [line for message in messages for line in message.split(b"\r\n")]
    return [line.partition(b":")[2].strip() for line in lines if line.lower().startswith(_FIELDS)]


def fuzz(target: str, seconds: int) -> list[Path]:
    """
    Run one target.

    @return: What it found, as kept.
    """
    found = CORPUS / "found" / target
    with tempfile.TemporaryDirectory() as folder:
        work, crashes = Path(folder, "work"), Path(folder, "crashes")
        work.mkdir()
        crashes.mkdir()
        for number, seed in enumerate(seeds(target)):
            Path(work, str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=10", "-verbosity=0"]
        command = [
            sys.executable,
            "-m",
            "fuzz.one",
            target,
            *options,
            f"-artifact_prefix={crashes}/",
            str(work),
        ]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)  # noqa: S603
        kept = []
        for crash in sorted(crashes.iterdir()):
            data = crash.read_bytes()
            found.mkdir(parents=True, exist_ok=True)
            place = found / f"{sha256(data).hexdigest()[:16]}.bin"
            place.write_bytes(data)
            kept.append(place)
        inputs = len(list(work.iterdir()))
    if kept or done.returncode:
        print(done.stderr[-3000:])
    print(f"{target}: {seconds} s, {inputs} inputs that differ in what they reach, {len(kept)} findings")
    if done.returncode and not kept:
        raise SystemExit(f"{target} could not be run")
    return kept


def main() -> int:
    """
    @return: 1 if anything was found.
    """
    if find_spec("atheris") is None:
        print("atheris is missing: pip install atheris")
        return 2
    options = argparse.ArgumentParser(prog="python -m fuzz.run")
    options.add_argument("--seconds", type=int, default=60, help="for all targets together")
    options.add_argument("--target", action="append", choices=list(TARGETS))
    chosen = options.parse_args()
    targets = chosen.target or list(TARGETS)
    found = [path for target in targets for path in fuzz(target, max(1, chosen.seconds // len(targets)))]
    for path in found:
        print(f"kept {path.relative_to(ROOT)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

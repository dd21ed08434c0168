"""A confined process can decode, and nothing else."""

import subprocess
import sys

CONFINED = """
import os, signal, socket, sys, threading
from serve_app.media.confine import address_space_bytes, confine, keep_only
sink = os.memfd_create("sink")
extra = os.open("/etc/hostname", os.O_RDONLY)
keep_only((sink,))
confine(os.getppid(), address_space_bytes() + 64 * 1024 * 1024, 1000, 5.0)
def refused(action):
    try:
        action()
    except (OSError, MemoryError):
        return True
    return False
checks = [
    refused(lambda: os.fstat(extra)),
    refused(lambda: os.open("/etc/hostname", os.O_RDONLY)),
    refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    refused(lambda: os.dup(1)),
    refused(lambda: bytearray(128 * 1024 * 1024)),
    refused(lambda: os.pwrite(sink, b"x", 1000)),
]
print(checks == [True] * 6)
"""


def test_a_confined_process_can_open_nothing() -> None:
    result = subprocess.run([sys.executable, "-c", CONFINED], capture_output=True, check=True)
    assert result.stdout.strip() == b"True"

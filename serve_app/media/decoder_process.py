"""The server's end of the decoder process."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

from serve_app.media.decode_job import MAX_MESSAGE_BYTES, DecodeJob, Outcome

_WORKER_MODULE = "serve_app.media.decode_worker"


class DecoderGone(Exception):
    """The decoder process ended before it answered."""


class DecoderProcess:
    """One running `serve_app.media.decode_worker`; it ends with this process.

    It gets this process's import path and nothing else of its environment, which may hold keys.
    """

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(0)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - nothing of a request is in it
                    [sys.executable, "-m", _WORKER_MODULE, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd=Path(__file__).parents[2],
                    env={"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        except OSError:
            self._control.close()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def run(self, job: DecodeJob, source: int, sink: int) -> Outcome:
        """Decode the file `source` into the file `sink`; cancelling ends the work.

        Raises:
            DecoderGone: the process ended, so the caller may try another one.
        """
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with channel:
            channel.settimeout(0)
            with theirs:
                try:
                    socket.send_fds(self._control, [job.to_json()], [source, sink, theirs.fileno()])
                except OSError:
                    raise DecoderGone from None
            try:
                answer = await asyncio.get_running_loop().sock_recv(channel, MAX_MESSAGE_BYTES)
            except ConnectionError:
                raise DecoderGone from None
        if not answer:
            raise DecoderGone
        try:
            return Outcome(answer.decode("ascii", "replace"))
        except ValueError:
            return Outcome.UNDECODABLE

    def close(self) -> None:
        """End the process and the jobs that it runs."""
        self._control.close()
        self._process.kill()
        self._process.wait()

"""The decoder process: forks one confined child per upload.

`python -m serve_app.media.decode_worker FD` serves the jobs that arrive at the socket FD until its
other end closes. A job is a message with three descriptors: the upload, an empty file for the
samples and a channel. The child sends its outcome through the channel; where it died, this process
does. The server cancels a job by closing its end of the channel.
"""

import gc
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from serve_app.media.confine import address_space_bytes, confine, keep_only
from serve_app.media.decode_job import MAX_MESSAGE_BYTES, DecodeJob, Outcome
from serve_app.media.decode_samples import decode_samples, warm_up

_JOB_DESCRIPTORS = 3
_BYTES_PER_SAMPLE = 2


class Zygote:
    """A single-threaded parent of decoding children."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._channels: dict[int, socket.socket] = {}
        self._wake, wake_end = socket.socketpair()
        self._wake.settimeout(0)
        wake_end.settimeout(0)
        self._wake_end = wake_end
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._address_space_bytes = address_space_bytes()

    def serve(self) -> None:
        """Run jobs until the server closes the control socket."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_end.fileno(), warn_on_full_buffer=False)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    if not self._receive():
                        return
                elif key.fileobj is self._wake:
                    self._wake.recv(MAX_MESSAGE_BYTES)
                else:
                    self._cancel(key.data)
            self._reap()

    def _receive(self) -> bool:
        """Start the job that waits; False once the server is gone."""
        data, descriptors, _, _ = socket.recv_fds(
            self._control, MAX_MESSAGE_BYTES, _JOB_DESCRIPTORS
        )
        if not data:
            return False
        source, sink, channel = descriptors
        try:
            self._start(DecodeJob.from_json(data), source, sink, socket.socket(fileno=channel))
        finally:
            os.close(source)
            os.close(sink)
        return True

    def _start(self, job: DecodeJob, source: int, sink: int, channel: socket.socket) -> None:
        parent = os.getpid()
        try:
            child = os.fork()
        except OSError:
            channel.close()
            return
        if child == 0:
            self._run(parent, job, source, sink, channel)
        self._channels[child] = channel
        self._selector.register(channel, selectors.EVENT_READ, data=child)

    def _run(
        self,
        parent: int,
        job: DecodeJob,
        source: int,
        sink: int,
        channel: socket.socket,
    ) -> NoReturn:
        """Be the child: decode, answer, end."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            keep_only((source, sink, channel.fileno()))
            confine(
                parent,
                self._address_space_bytes + job.memory_bytes,
                job.max_samples * _BYTES_PER_SAMPLE,
                job.timeout_s,
            )
            channel.send(decode_samples(source, sink, job).value.encode())
            os._exit(0)
        finally:
            os._exit(1)

    def _cancel(self, child: int) -> None:
        """The server closed its end: nobody waits for this child, which is not reaped yet."""
        os.kill(child, signal.SIGKILL)
        self._selector.unregister(self._channels[child])

    def _reap(self) -> None:
        while self._channels:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                return
            with self._channels.pop(child) as channel:
                with suppress(KeyError):
                    self._selector.unregister(channel)
                if status != 0:
                    with suppress(OSError):
                        channel.send(Outcome.OVER_LIMITS.value.encode())


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    os.chdir("/")
    warm_up()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        Zygote(control).serve()


if __name__ == "__main__":
    main()

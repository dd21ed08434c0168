"""`python -m loadtests`: people arrive at a constant rate, and the report says how they fared.

Exit status: 0, all targets are kept; 1, not; 2, it could not be run.
"""

from gevent import monkey

monkey.patch_all()  # before anything else opens a socket

import argparse  # noqa: E402
import contextlib  # noqa: E402
import ipaddress  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from urllib.parse import urlsplit  # noqa: E402

from loadtests.arrivals import schedule  # noqa: E402
from loadtests.open_loop import Load, run  # noqa: E402
from loadtests.page import page  # noqa: E402
from loadtests.report import report  # noqa: E402
from loadtests.server import serving  # noqa: E402
from loadtests.targets import load_targets  # noqa: E402

_HERE = Path(__file__).parent
_LONGEST_S = 86_400.0


def main() -> int:
    """Run one load test."""
    options = _options()
    try:
        targets = load_targets(options.targets)
        load_headers = _headers(options.key_file)
        arrivals = schedule(options.rate, options.duration, options.live_share, options.seed)
        if options.host is not None and not options.allow_remote:
            refuse_remote(options.host)
        options.out.mkdir(parents=True, exist_ok=True)
        random.seed(options.seed)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        target = (
            serving(options.config, options.out / "server.log")
            if options.host is None
            else contextlib.nullcontext(options.host)
        )
        with target as host:
            load = Load(
                host, load_headers, arrivals, options.users, options.turns, options.interrupting
            )
            visits = run(load)
    except (ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f"The load test cannot be run: {error}\n")
        return 2
    command = " ".join(["python -m loadtests", *sys.argv[1:]])
    found = report(visits, targets, command=command, began=began, duration_s=options.duration)
    (options.out / "report.json").write_text(found.json(), encoding="utf-8")
    (options.out / "report.txt").write_text(found.text(), encoding="utf-8")
    (options.out / "report.html").write_text(page(found, visits), encoding="utf-8")
    sys.stdout.write(f"{found.text()}The page: {options.out / 'report.html'}\n")
    return 0 if found.passed else 1


def refuse_remote(host: str) -> None:
    """A load test may hurt: it goes to other machines only where that is said.

    Raises:
        ValueError: the address is not one of this machine alone.
    """
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{host!r} is not an address such as http://127.0.0.1:8000")
    if parts.hostname == "localhost":
        return
    try:
        here = ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        here = False
    if not here:
        raise ValueError(f"{parts.hostname} is another machine: say --allow-remote if it is yours")


def _headers(key_file: Path | None) -> dict[str, str]:
    if key_file is None:
        return {}
    return {"Authorization": f"Bearer {key_file.read_text(encoding='utf-8').strip()}"}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    say = parser.add_argument
    say("--duration", type=_between(1, _LONGEST_S), default=120.0, help="seconds of arrivals")
    say(
        "--rate", type=_between(0.001, 10_000), default=1.0, help="arrivals a second, of both kinds"
    )
    say("--users", type=int, default=200, help="the most at the same time; more are not sent")
    say("--live-share", type=_between(0, 1), default=0.3, help="of conversations among arrivals")
    say("--turns", type=int, choices=range(1, 21), default=2, help="of a conversation")
    say("--interrupting", type=_between(0, 1), default=0.5, help="share of turns that interrupt")
    say("--seed", type=int, default=1, help="of the arrivals and of what is said")
    say("--config", default="configs/test.yaml", help="what to serve where no host is given")
    say("--host", help="a server that runs, such as http://127.0.0.1:8000")
    say("--allow-remote", action="store_true", help="the host may be another machine")
    say("--key-file", type=Path, help="a file that holds an API key and nothing else")
    say("--targets", type=Path, default=_HERE / "targets.yaml", help="what must be kept")
    say("--out", type=Path, default=_HERE / "results", help="where the reports are written")
    return parser.parse_args()


def _between(low: float, high: float) -> Callable[[str], float]:
    """What argparse reads a number within bounds with."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            number = float(text)
            if low <= number <= high:
                return number
        raise argparse.ArgumentTypeError(f"use a number from {low:g} to {high:g}")

    return read


if __name__ == "__main__":
    sys.exit(main())

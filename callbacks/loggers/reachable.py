"""Whether a server answers, without waiting longer than a run should."""

import ssl
import threading
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import build_opener

PATIENCE = 4.0
"""Seconds to wait for an answer; wandb itself waits 100 s and then ends the run."""


def reachable(url: str, patience: float | None = None) -> bool:
    """Whether the server, or the proxy on the way to it, answers a request within `patience` seconds."""
    patience = PATIENCE if patience is None else patience
    answered = threading.Event()

    def ask() -> None:
        try:
            build_opener().open(url, timeout=patience).close()  # the proxies of now
        except HTTPError as error:  # an answer, too
            error.close()
        except URLError as error:
            if not isinstance(error.reason, ssl.SSLError):  # wandb may know a certificate that this does not
                return
        except (OSError, HTTPException, ValueError):
            return
        answered.set()

    # In a thread, as the look-up of a name has a time-out of its own, which can be far longer.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return answered.is_set()

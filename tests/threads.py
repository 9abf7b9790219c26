"""Work that goes on beside a test, in a thread of its own."""

import threading
from contextlib import contextmanager

from django.db import connections


@contextmanager
def repeated(do, *, pause):
    """Do it again and again, so many seconds apart, until the block ends."""
    over = threading.Event()

    def work():
        try:
            while not over.is_set():
                do()
                over.wait(pause)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
        assert not thread.is_alive()

"""Whether the work gets done, for monitoring and for the people who run the console.

The dead report nothing, so it is read from what only the living keep up: clusters of workers move due schedules on,
twice a minute, and take messages out of the queue. Both are rows; no process is asked.
"""

import time
from dataclasses import dataclass

from django.db import connection

LONGEST_DELAY = 90.0  # seconds by which the schedule of every minute may be late
LONGEST_WAIT = 120.0  # of a message in the queue
LARGEST_SKEW = 5.0

# The lock of a message that somebody has claimed lies in the future; that of one that waits is when it came.
LOOK = """
SELECT extract(epoch FROM clock_timestamp())::float,
       (SELECT extract(epoch FROM clock_timestamp() - min(next_run))::float
        FROM django_q_schedule WHERE func = 'environments.tasks.tick'),
       count(*),
       extract(epoch FROM clock_timestamp() - min(lock))::float
FROM django_q_ormq WHERE lock <= clock_timestamp()
"""


@dataclass(frozen=True)
class Health:
    """What can be seen from here; seconds by the database's clock."""

    schedule_delay: float  # by how much the schedule of every minute is late; below zero: it is not due yet
    waiting: int  # messages that no worker has taken; 0 with the queue in Redis
    longest_wait: float
    clock_skew: float  # this host's clock minus the database's

    @property
    def is_working(self) -> bool:
        return self.schedule_delay <= LONGEST_DELAY and self.longest_wait <= LONGEST_WAIT

    @property
    def problems(self) -> list[str]:
        """What is wrong, and what to do about it."""
        found = []
        if self.schedule_delay > LONGEST_DELAY:
            late = f"what is due every minute is {_minutes(self.schedule_delay)} late, and {self.waiting} messages wait"
            found.append(
                f"No worker is at work: {late}. Nothing is synchronized, deployed or tagged until workers run again: "
                "start “manage.py work”, or look at what it logs."
            )
        elif self.longest_wait > LONGEST_WAIT:
            found.append(
                f"The workers are behind: {self.waiting} messages wait, the oldest for {_minutes(self.longest_wait)}. "
                "Raise LIFETIME_WORKERS, or run “manage.py work” on one more host."
            )
        if abs(self.clock_skew) > LARGEST_SKEW:
            which = "ahead of" if self.clock_skew > 0 else "behind"
            off = f"{abs(self.clock_skew):.0f} s {which}"
            found.append(f"The clock of this web host is {off} the database's: have both set by NTP.")
        return found


def look() -> Health:
    """One query."""
    began = time.time()
    with connection.cursor() as cursor:
        cursor.execute(LOOK)
        now, delay, waiting, longest = cursor.fetchone()
    return Health(
        schedule_delay=delay or 0.0,
        waiting=waiting,
        longest_wait=longest or 0.0,
        clock_skew=(began + time.time()) / 2 - now,
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"

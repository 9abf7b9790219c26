"""The queue in Redis, chosen by `LIFETIME_REDIS_URL`. It needs the extra `redis`, so it is a module of its own."""

from django_q.brokers.redis_broker import Redis

from lifetime.pulse import Beating


class RedisBroker(Beating, Redis):  # type: ignore[misc]
    """Faster than the database, but a killed worker's task is lost: docs/queue.md."""

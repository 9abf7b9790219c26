"""The claim of the product: between a window's `quiet_at` and its end nothing of the console is heard.

Several worker processes open contacts at random, others toggle maintenance mode at random, all with real commits on one
database. Then the environments' own access logs are compared with the windows.
"""

import json
import signal

import pytest

from environments import maintenance, quiet
from environments.models import Contact, Environment, MaintenanceWindow
from tests.factories import actor, create_environment
from tests.platforms import Platform
from tests.processes import Process

ENVIRONMENTS = 12
TALKERS = 3
ATTEMPTS = 3_500  # each; with the toggles well over 10,000 trials

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_environments_heard_nothing_while_it_was_quiet(tmp_path):
    with Platform.start(tmp_path / "platform", count=ENVIRONMENTS) as platform:
        platform.behave(delay_seconds=0.02)
        environments = {
            create_environment(platform=platform, address=address).pk: address for address in platform.addresses
        }
        ended, toggles = race(tmp_path, list(environments))
        still_on = Environment.objects.in_maintenance()
        if still_on.exists():
            maintenance.disable_all(still_on, by=actor(), reason="The race is over")
        lines = platform.log()

    assert ended["attempts"] == TALKERS * ATTEMPTS
    assert ended["attempts"] + toggles["enabled"] + toggles["disabled"] >= 10_000
    assert not Contact.objects.open().exists()
    windows = list(MaintenanceWindow.objects.order_by("pk"))
    quiet_ones = [window for window in windows if window.quiet_at]
    print(f"\n{ended} {toggles} {len(windows)} windows, {len(quiet_ones)} of them quiet, {len(lines)} requests")
    assert len(quiet_ones) > 100
    assert all(found.breaches == 0 for _, found in quiet.certificates(windows))
    assert heard_while_quiet(quiet_ones, lines, environments) == []


def race(folder, environment_ids):
    """Let the processes run; return how the attempts ended and what was toggled."""
    ids = [str(pk) for pk in environment_ids]
    togglers = [
        Process("-m", "tests.races.toggler", str(seed), *ids, log=folder / f"toggler{seed}") for seed in range(2)
    ]
    talkers = [
        Process("-m", "tests.races.talker", str(ATTEMPTS), str(seed), *ids, log=folder / f"talker{seed}")
        for seed in range(TALKERS)
    ]
    try:
        for talker in talkers:
            assert talker.wait(60) == 0, talker.output()
        for toggler in togglers:
            toggler.signal(signal.SIGTERM)
            assert toggler.wait() == 0, toggler.output()
    finally:
        for process in [*togglers, *talkers]:
            process.__exit__()
    ended = total(talkers)
    ended["attempts"] = sum(ended.values())
    return ended, total(togglers)


def total(processes):
    counts = {}
    for process in processes:
        for name, count in json.loads(process.output().splitlines()[-1]).items():
            counts[name] = counts.get(name, 0) + count
    return counts


def heard_while_quiet(windows, lines, environments):
    """The requests that an environment's own log has inside a quiet time: any instant between begin and end."""
    logs = {}
    for line in lines:
        logs.setdefault(line["prefix"], []).append(line)
    heard = []
    for window in windows:
        name = "/" + environments[window.environment_id].rpartition("/")[2]
        begins, ends = iso(window.quiet_at), iso(window.disabled_at)
        heard += [
            (line, begins, ends) for line in logs.get(name, []) if line["began_at"] < ends and line["ended_at"] > begins
        ]
    return heard


def iso(instant):
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")

"""`manage.py maintenance enable|disable|status|wait`"""

import json
import os
import pwd
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone
from tqdm import tqdm

from audit.log import Actor
from environments import maintenance, selection, watching
from environments.models import Environment, EnvironmentPurpose
from environments.watching import Goal, State, Watched
from lifetime import outage, policy
from lifetime.models import User
from lifetime.policy import Action

DONE, FAILED, BAD_USAGE, REFUSED, TIMED_OUT, PARTLY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
RESULTS = {
    DONE: "done",
    FAILED: "failed",
    BAD_USAGE: "bad_usage",
    REFUSED: "refused",
    TIMED_OUT: "timed_out",
    PARTLY: "partly",
    INTERRUPTED: "interrupted",
}
HELP_END = """\
which environments:
  names           one or more; matched exactly, else without regard to case; each counts once
  --file FILE, -  names from a file or from the standard input: one a line, lines beginning with # are comments
  --purpose P     all of a purpose: Development, Test (or Non-Production), Production
  --all           all that are registered; cloud environments too
  A bulk call is done for all of them or for none: one that is refused, or one wrong name, and nothing is toggled.

exit codes:
    0  done (with --wait: and all that was waited for has come about)
    1  failed for an unexpected reason, which is said; what was toggled before stands
    2  bad usage: options, names, reason; nothing was toggled
    3  refused: already enabled, not enabled, not allowed; nothing was toggled
    4  timed out while waiting; the toggles stand, and the environments go on without this command
    5  partly: the toggles stand, but what was waited for cannot come about everywhere
       (a synchronization failed, or somebody else toggled meanwhile)
  130  interrupted (Ctrl-C) while waiting; the toggles stand
"""
LONGEST_INPUT = 10_000_000
POLL_SECONDS = 0.1


class Stop(Exception):
    """The command ends here with this exit code; the text says why."""

    def __init__(self, code: int, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class Command(BaseCommand):
    help = "Enable, disable, look at or wait for maintenance mode, of any number of environments at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = HELP_END
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="enable|disable|status|wait")
        shared: dict[str, Any] = {"formatter_class": RawDescriptionHelpFormatter, "epilog": HELP_END}

        enable = commands.add_parser("enable", help="stop all contact with environments", **shared)
        enable.add_argument("--until", type=_instant, metavar="TIME", help="expected end, as 2026-11-23T18:00+01:00")
        disable = commands.add_parser("disable", help="resume contact and synchronize fully", **shared)
        for command, skip, state in ((enable, "--skip-enabled", "in"), (disable, "--skip-disabled", "not in")):
            command.add_argument("--reason", required=True, help="why; goes into the audit log, shown to everybody")
            command.add_argument("--by", metavar="USERNAME", help="who does it (default: the system's user)")
            command.add_argument(
                "--dry-run", action="store_true", help="say what would be done and aborted; do nothing"
            )
            command.add_argument(
                skip,
                action="store_true",
                dest="skip",
                help=f"leave out those that are {state} maintenance mode already",
            )
            command.add_argument("--wait", action="store_true", help="until all are quiet; disable: back in sync")
        commands.add_parser("status", help="show it: of these, or of all that are in maintenance mode", **shared)
        wait = commands.add_parser("wait", help="until environments are quiet, or back in sync", **shared)
        wait.add_argument("--for", choices=list(Goal), type=Goal, required=True, dest="goal", help="what to wait for")
        for command in commands.choices.values():
            self._add_selection(command)
            command.add_argument("--json", action="store_true", help="answer with one JSON document")
        for command in (enable, disable, wait):
            command.add_argument(
                *("--timeout", "-t"), type=_seconds, default=60.0, metavar="SECONDS", help="of waiting (default: 60)"
            )

    def _add_selection(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="an environment; - reads names from standard input"
        )
        parser.add_argument("--file", metavar="FILE", help="names from a file, one a line")
        parser.add_argument("--purpose", type=_purpose, help="all environments of this purpose")
        parser.add_argument("--all", action="store_true", dest="everything", help="all registered environments")

    def handle(self, *, subcommand: str, json: bool, **options: Any) -> None:
        self.is_json = json
        self.document: dict[str, Any] = {"command": subcommand}
        code, message = DONE, ""
        try:
            getattr(self, subcommand)(**options)
        except Stop as stop:
            code, message = stop.code, str(stop)
            self.document.update(stop.details)
        except DatabaseError as trouble:
            said = outage.explain(trouble) or f"The database refuses: {' '.join(str(trouble).split())}"
            code, message = FAILED, selection.printable(said)
        if message:
            self.stderr.write(message)
        if json:
            self._say_json(code, message)
        if code:
            sys.exit(code)

    # The four commands

    def enable(self, *, reason: str, until: datetime | None, by: str | None, **options: Any) -> None:
        reason = _clean(reason)
        environments = self._select(**options)
        actor = _actor(by, environments)
        already = [one for one in environments if one.is_in_maintenance]
        wanted = self._skip(environments, already, options["skip"])
        if options["dry_run"]:
            self._preview(wanted, [] if options["skip"] else already)
            return
        windows = []
        if wanted:
            try:
                windows = maintenance.enable_all(wanted, by=actor, reason=reason, expected_end=until)
            except maintenance.MaintenanceRefused as refusal:
                raise Stop(REFUSED, f"Nothing was toggled. {refusal}") from refusal
            except ValidationError as error:
                raise Stop(BAD_USAGE, f"--until: {' '.join(error.messages)} Nothing was toggled.") from error
        self._say_toggled("Enabled", [window.environment for window in windows], reason, actor)
        self._finish([one.pk for one in wanted], Goal.QUIET, **options)

    def disable(self, *, reason: str, by: str | None, **options: Any) -> None:
        reason = _clean(reason)
        environments = self._select(**options)
        actor = _actor(by, environments)
        already = [one for one in environments if not one.is_in_maintenance]
        wanted = self._skip(environments, already, options["skip"])
        if options["dry_run"]:
            self._preview_disable(wanted, [] if options["skip"] else already)
            return
        if wanted:
            try:
                maintenance.disable_all(wanted, by=actor, reason=reason)
            except maintenance.MaintenanceRefused as refusal:
                raise Stop(REFUSED, f"Nothing was toggled. {refusal}") from refusal
        self._say_toggled("Disabled", wanted, reason, actor)
        self._finish([one.pk for one in wanted], Goal.RECOVERED, **options)

    def status(self, **options: Any) -> None:
        named = bool(options["names"] or options["file"] or options["purpose"] or options["everything"])
        ids = [one.pk for one in self._select(**options)] if named else watching.of_interest()
        watched = watching.look(ids)
        self._report(watched)
        if not self.is_json:
            self._table(watched, empty="No environment is in maintenance mode.")

    def wait(self, *, goal: Goal, timeout: float, **options: Any) -> None:
        named = bool(options["names"] or options["file"] or options["purpose"] or options["everything"])
        ids = [one.pk for one in self._select(**options)] if named else watching.of_interest()
        watched = watching.look(ids)
        never = [one for one in watched if one.window is None or (goal == Goal.QUIET and not one.window.is_open)]
        if named and goal == Goal.QUIET and never:
            names = ", ".join(selection.printable(one.environment.name) for one in never)
            raise Stop(REFUSED, f"Not in maintenance mode, so there is no quiet to wait for: {names}.")
        self._wait(ids, goal, timeout)

    # Which environments, and who

    def _select(
        self,
        *,
        names: Sequence[str],
        file: str | None,
        purpose: EnvironmentPurpose | None,
        everything: bool,
        **_: Any,
    ) -> list[Environment]:
        typed = [name for name in names if name != "-"]
        sources = [bool(names or file), bool(purpose), everything]
        if sum(sources) != 1:
            raise Stop(
                BAD_USAGE, "Say which environments: by their names (also --file FILE, -), or --purpose, or --all."
            )
        try:
            if "-" in names or file == "-":
                typed += selection.parse(_decode(sys.stdin.buffer.read(LONGEST_INPUT + 1), "The standard input"))
            if file and file != "-":
                typed += selection.parse(_read(file))
            if names or file:
                return selection.by_names(typed)
        except selection.UnknownNames as mistake:
            unknown = [{"name": one.name, "near": list(one.near)} for one in mistake.unknown]
            raise Stop(BAD_USAGE, f"Nothing was done. {mistake}", unknown=unknown) from mistake
        except selection.BadSelection as mistake:
            raise Stop(BAD_USAGE, f"Nothing was done. {mistake}") from mistake
        found = selection.by_purpose(purpose) if purpose else selection.everything()
        if not found:
            raise Stop(BAD_USAGE, "Nothing was done: there is no such environment.")
        return found

    def _skip(self, environments: list[Environment], already: list[Environment], skip: bool) -> list[Environment]:
        if not skip:
            return environments
        self.document["skipped"] = [one.name for one in already]
        if already and not self.is_json:
            self.stdout.write(f"Skipped, as they are so already: {_names(already)}")
        skipped = {one.pk for one in already}
        return [one for one in environments if one.pk not in skipped]

    # What is said

    def _preview(self, environments: list[Environment], refused: list[Environment]) -> None:
        found = maintenance.preview(environments)
        self.document.update(
            dry_run=True,
            would_enable=[one.name for one in environments],
            would_abort={
                "plans": [{"name": str(one), "status": one.status, "by": one.started_by} for one in found.plans],
                "synchronizations": [
                    {"number": one.pk, "environment": one.environment.name, "by": one.requested_by}
                    for one in found.syncs
                ],
                "tasks": [
                    {"name": str(one), "environment": one.environment.name, "by": one.requested_by}
                    for one in found.tasks
                ],
                "contacts": [
                    {"number": one.pk, "environment": one.environment.name, "for": one.serves, "step": one.step}
                    for one in found.contacts
                ],
            },
            already_enabled=[one.name for one in refused],
        )
        self._write(f"Would enable maintenance mode of {len(environments)}: {_names(environments)}")
        for plan in found.plans:
            self._write(f"  would abort {plan} ({plan.source} → {plan.target}, {_by(plan.started_by)})")
        for sync in found.syncs:
            self._write(f"  would abort {sync} of {sync.environment} ({_by(sync.requested_by)})")
        for task in found.tasks:
            self._write(f"  would abort {task} in {task.environment} ({_by(task.requested_by)})")
        for contact in found.contacts:
            where = f"at {contact.step} " if contact.step else ""
            self._write(
                f"  would cut a contact with {contact.environment}: {contact.serves}, {where}by {contact.worker}"
            )
        if found.is_empty:
            self._write("  nothing is in progress there")
        if refused:
            raise Stop(REFUSED, f"It would be refused: enabled already: {_names(refused)} (see --skip-enabled)")

    def _preview_disable(self, environments: list[Environment], refused: list[Environment]) -> None:
        names = [one.name for one in environments if one not in refused]
        self.document.update(dry_run=True, would_disable=names, not_enabled=[one.name for one in refused])
        self._write(
            f"Would disable maintenance mode of {len(names)} and synchronize fully: {', '.join(names) or 'none'}"
        )
        for state in watching.look([one.pk for one in environments if one not in refused]):
            self._write(f"  {state.environment}: {state.since_text}, {state.phase}, {state.certificate_text}")
        if refused:
            raise Stop(REFUSED, f"It would be refused: not enabled: {_names(refused)} (see --skip-disabled)")

    def _say_toggled(self, what: str, environments: Sequence[Environment], reason: str, actor: Actor) -> None:
        self.document.update(toggled=[one.name for one in environments], reason=reason, by=actor.name)
        if environments:
            number = f"{len(environments)} environment{'s' if len(environments) > 1 else ''}"
            self._write(f"{what} maintenance mode of {number}: {_names(environments)}")
        else:
            self._write("Nothing was left to toggle.")

    def _finish(self, ids: list[int], goal: Goal, *, wait: bool, timeout: float, **_: Any) -> None:
        if wait:
            self._wait(ids, goal, timeout)
            return
        watched = watching.look(ids)
        self._report(watched)
        for one in watched:
            for blocker in one.blockers:
                self._write(f"  {one.environment} waits for {blocker}")

    def _wait(self, ids: list[int], goal: Goal, timeout: float) -> None:
        """Look again and again, settling what can be; ends with Stop unless all of them reach the goal."""
        began = time.monotonic()
        awaited = watching.begin(ids)
        try:
            self._watch(awaited, goal, timeout)
        except KeyboardInterrupt:
            self._after_waiting(awaited, goal)
            raise Stop(INTERRUPTED, f"Interrupted; the toggles stand. {awaited.describe(goal)}") from None
        finally:
            self.document["waited_seconds"] = round(time.monotonic() - began, 3)
        self._after_waiting(awaited, goal)
        states = [one.state(goal) for one in awaited.watched]
        if State.PENDING in states:
            raise Stop(TIMED_OUT, f"Timed out after {timeout:g} s; the toggles stand. {awaited.describe(goal)}")
        if State.FAILED in states:
            raise Stop(PARTLY, awaited.describe(goal))

    def _watch(self, awaited: watching.Awaited, goal: Goal, timeout: float) -> None:
        ends = time.monotonic() + timeout
        hidden = None if sys.stderr.isatty() else True
        with tqdm(total=len(awaited.watched), unit="env", desc=goal.label, disable=hidden, leave=False) as bar:
            while True:
                try:
                    awaited.look()
                except DatabaseError:
                    if time.monotonic() >= ends:
                        raise
                    connection.close()  # the server was restarted, perhaps: the next look makes a new connection
                bar.update(awaited.count_over(goal) - bar.n)
                left = ends - time.monotonic()
                if awaited.is_over(goal) or left <= 0:
                    return
                time.sleep(min(POLL_SECONDS, left))

    def _after_waiting(self, awaited: watching.Awaited, goal: Goal) -> None:
        self._report(awaited.watched)
        for one in awaited.watched:
            self._write(f"  {one.environment}: {one.outcome_text(goal)}")

    def _report(self, watched: Sequence[Watched]) -> None:
        self.document["environments"] = [one.as_json() for one in watched]

    def _table(self, watched: Sequence[Watched], *, empty: str) -> None:
        if not watched:
            self._write(empty)
            return
        rows = [["ENVIRONMENT", "PHASE", "SINCE (UTC)", "UNTIL (UTC)", "BY", "QUIET AFTER", "CERTIFICATE", "REASON"]]
        rows += [one.row() for one in watched]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            self._write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for one in watched:
            for blocker in one.blockers:
                self._write(f"{one.environment} waits for {blocker}")

    def _write(self, line: str) -> None:
        if not self.is_json:
            self.stdout.write(selection.printable(line))

    def _say_json(self, code: int, message: str) -> None:
        self.document = {"result": RESULTS[code], "exit_code": code, "message": message, **self.document}
        self.stdout.write(json.dumps(self.document, ensure_ascii=True, indent=2))


def _names(environments: Sequence[Environment]) -> str:
    return ", ".join(selection.printable(one.name) for one in environments) or "none"


def _by(name: str) -> str:
    return f"started by {name}" if name else "started by System"


def _clean(reason: str) -> str:
    try:
        return maintenance.clean_reason(reason)
    except ValidationError as error:
        raise Stop(BAD_USAGE, f"--reason: {' '.join(error.messages)} Nothing was toggled.") from error


def _actor(username: str | None, environments: Sequence[Environment]) -> Actor:
    """Who the audit log names: the person given, who must be allowed to, or whoever runs the command."""
    if username is None:
        return system_actor()
    user = User.objects.filter(username__iexact=username).first() if selection.is_clean(username) else None
    if user is None or not user.is_active:
        raise Stop(BAD_USAGE, f"--by: “{selection.printable(username)}” is no active user. Nothing was toggled.")
    decision = policy.may_toggle_as_support(user) or policy.may(user, Action.TOGGLE_MAINTENANCE, *environments)
    if not decision:
        raise Stop(REFUSED, f"Nothing was toggled. {user.username} may not: {decision.reason}")
    return user.actor()


def system_actor() -> Actor:
    """Whoever runs a command, as the audit log names them: the operating system's user."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"user {os.getuid()}"
    return Actor(name=f"{name} (command line)")


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return _decode(file.read(LONGEST_INPUT + 1), path)
    except (OSError, ValueError) as trouble:
        why = trouble.strerror if isinstance(trouble, OSError) else str(trouble)
        raise selection.BadSelection(f"Cannot read {selection.printable(path)}: {why}.") from trouble


def _decode(data: bytes, where: str) -> str:
    if len(data) > LONGEST_INPUT:
        raise selection.BadSelection(f"{where} has more than {LONGEST_INPUT:,} bytes; that is no list of names.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise selection.BadSelection(f"{where} is no UTF-8 text (byte {error.start}).") from error


def _purpose(text: str) -> EnvironmentPurpose:
    for purpose in EnvironmentPurpose:
        if text.casefold() in (purpose.value.casefold(), purpose.label.casefold()):
            return purpose
    raise ArgumentTypeError(f"not a purpose: {text!r}; there are Development, Test (Non-Production) and Production")


def _instant(text: str) -> datetime:
    """An instant in ISO 8601; without an offset it is UTC."""
    try:
        instant = datetime.fromisoformat(text)
        return (instant if timezone.is_aware(instant) else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"not a time as 2026-11-23T18:00 or 2026-11-23T18:00+01:00: {text!r}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 7 * 86_400:
        raise ArgumentTypeError(f"not a number of seconds from 0 to a week: {text!r}")
    return seconds

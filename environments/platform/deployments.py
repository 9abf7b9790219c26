"""Deployments: started, watched, continued and aborted by the console; done by the environment on its own.

Every change of state is durable before anybody hears of it. The switch to the new versions is one transaction, which
also says that it has happened, so a crash leaves either everything as it was or everything done.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from environments.platform import clock, configuration, packages, publishing, steps, uploads, versions
from environments.platform.answers import Problem
from environments.platform.canonical import canonical
from environments.platform.deployment import (
    PUBLIC,
    STEPS,
    UNSTOPPABLE,
    AbortBody,
    ContinueBody,
    Deployment,
    NewDeploymentBody,
    counted,
)
from environments.platform.packages import BadPackage, Package
from environments.platform.schemas import bad_body, check
from environments.platform.shelf import in_thread, remove

if TYPE_CHECKING:
    from environments.platform.environment import Environment

logger = logging.getLogger("platform")
PREPARED_SECONDS = 96 * 3600.0
LISTED = 50
ABORT_WAIT_SECONDS = 2.0


class Deployments:
    """Those of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._active: dict[str, Deployment] = {}
        rows = environment.store.rows(
            "SELECT state FROM deployment WHERE environment = ? AND ended_at IS NULL ORDER BY started_at",
            environment.id,
        )
        for (state,) in rows:
            deployment = Deployment(environment, json.loads(state))
            self._active[deployment.id] = deployment
            self._pick_up(deployment)

    def _pick_up(self, deployment: Deployment) -> None:
        """After a restart: what was under way is over, one way or the other; what waits goes on waiting."""
        state = deployment.state
        if state["status"] == "needs_user_intervention":
            return
        if state["is_applied"]:
            state["step"] = "synchronizing"
            for name in UNSTOPPABLE:
                deployment.step(name).update(state="finished", ended_at=clock.text(self._environment.now()))
            deployment.log("The environment was restarted after the switch.")
            self._finish(deployment)
        else:
            self._undo(deployment, state["reason"] or "The environment was restarted before the switch.")

    # What it keeps from being cleaned up
    def sites(self) -> set[str]:
        """Names of sites and of staging areas."""
        sites = {site for one in self._active.values() for site in one.state["sites"].values()}
        return sites | set(self._active)

    def packages(self) -> set[str]:
        return {application["package"] for one in self._active.values() for application in one.state["applications"]}

    # What the console asks
    def shown(self, id_: str, *, since: str, limit: int) -> dict[str, Any]:
        self.expire()
        state = self._state(id_)
        start = self._environment.number_of(since)
        rows = self._environment.store.rows(
            "SELECT line, at, type, step, message FROM deployment_line WHERE environment = ? AND deployment = ?"
            " AND line > ? ORDER BY line LIMIT ?",
            self._environment.id,
            id_,
            start,
            limit + 1,
        )
        lines = [dict(zip(("line", "at", "type", "step", "message"), row, strict=True)) for row in rows[:limit]]
        end = lines[-1]["line"] if lines else start
        cursor = self._environment.cursor(end) if end else "0"
        return {**_public(state), "log": lines, "cursor": cursor, "more": len(rows) > limit}

    def listed(self) -> dict[str, Any]:
        self.expire()
        rows = self._environment.store.rows(
            "SELECT state FROM deployment WHERE environment = ? AND ended_at IS NOT NULL"
            " ORDER BY ended_at DESC, id LIMIT ?",
            self._environment.id,
            LISTED,
        )
        active = [_public(one.state) for one in self._active.values()]
        return {"deployments": active + [_public(json.loads(state)) for (state,) in rows]}

    async def start(self, body: Any) -> tuple[dict[str, Any], bool]:
        """Start a deployment; answer it and whether it is new."""
        order = check(NewDeploymentBody, body)
        id_, request = str(order.id), canonical(body)
        if self._is_repeated(id_, request):
            return self.shown(id_, since="0", limit=2000), False
        found = await self._examined(order)
        if self._is_repeated(id_, request):
            return self.shown(id_, since="0", limit=2000), False
        state = self._new_state(order, found)
        self._refuse(order, found, state["modules"])
        deployment = Deployment(self._environment, state)
        deployment.packages = found
        with self._environment.store.transaction():
            self._environment.store.write(
                "INSERT INTO deployment (environment, id, request, state, started_at) VALUES (?, ?, ?, ?, ?)",
                self._environment.id,
                id_,
                request,
                canonical(state),
                self._environment.now(),
            )
            deployment.log(f"Started by {order.by.name}: {counted(len(state['applications']), 'application')}.")
            deployment.save()
        self._active[id_] = deployment
        self._run(deployment)
        return self.shown(id_, since="0", limit=2000), True

    async def continue_(self, id_: str, body: Any) -> dict[str, Any]:
        order = check(ContinueBody, body)
        self.expire()
        state = self._state(id_)
        deployment = self._active.get(id_)
        is_waiting = state["status"] == "needs_user_intervention" and state["information"] == order.information
        if deployment is None or not is_waiting:
            if order.information in state["answered"] or (state["status"] == "aborted" and state["expired"]):
                return self.shown(id_, since="0", limit=2000)
            raise Problem(409, "not-waiting", "It does not wait for that", f"It is {state['status']}.")
        await self._load(deployment)
        if state["information"] != order.information:  # somebody else was faster
            return self.shown(id_, since="0", limit=2000)
        self._answer(deployment, order)
        self._run(deployment)
        return self.shown(id_, since="0", limit=2000)

    async def abort(self, id_: str, body: Any) -> dict[str, Any]:
        order = check(AbortBody, body)
        self.expire()
        state = self._state(id_)
        deployment = self._active.get(id_)
        if deployment is None or state["status"] == "aborting":
            if state["status"] not in ("aborted", "aborting"):
                raise _too_late(f"It is {state['status']}.")
        elif not deployment.can_abort:
            raise _too_late(f"It is at the step {state['step']}, which must end.")
        else:
            reason = order.reason or f"Aborted by {order.by.name}."
            state.update(status="aborting", information="", interventions=[], reason=reason)
            with self._environment.store.transaction():
                deployment.log(f"{order.by.name} aborts: {reason}")
                deployment.save()
            if deployment.task is None or deployment.task.done():
                self._undo(deployment, reason)
            else:
                deployment.task.cancel()
        if deployment is not None and deployment.task is not None:
            await asyncio.wait([deployment.task], timeout=ABORT_WAIT_SECONDS)
        return self.shown(id_, since="0", limit=2000)

    def expire(self) -> None:
        """Give up what was prepared too long ago."""
        now = clock.text(self._environment.now())
        for deployment in list(self._active.values()):
            until = deployment.state["prepared_until"]
            if until and until < now and deployment.state["status"] == "needs_user_intervention":
                deployment.state["expired"] = True
                self._undo(deployment, "The prepared packages were deleted after 96 hours.")

    # Starting
    def _is_repeated(self, id_: str, request: bytes) -> bool:
        row = self._environment.store.row(
            "SELECT request FROM deployment WHERE environment = ? AND id = ?", self._environment.id, id_
        )
        if row is not None and row[0] != request:
            raise versions.key_taken(id_)
        return row is not None

    async def _examined(self, order: NewDeploymentBody) -> dict[str, Package]:
        """The packages by digest; a problem when one is not here, or another application's."""
        keys = [str(one.application_key) for one in order.applications]
        if len(set(keys)) != len(keys):
            raise bad_body("applications: one is named twice")
        found = {}
        for one in order.applications:
            if not uploads.is_here(self._environment, one.package):
                raise uploads.package_unknown(one.package, status=422)
            path = self._environment.shelf.package(one.package)
            try:
                package = await _manifest_of(path)
            except BadPackage as error:
                raise Problem(422, "bad-package", "The file is no package", str(error)) from None
            if str(package.manifest.application.key) != str(one.application_key):
                raise Problem(
                    422, "package-unknown", "The package is another's", f"It is of {package.manifest.application.name}."
                )
            found[one.package] = package
        return found

    def _new_state(self, order: NewDeploymentBody, found: dict[str, Package]) -> dict[str, Any]:
        applications = []
        for one in order.applications:
            manifest = found[one.package].manifest
            version = manifest.version
            applications.append(
                {
                    "application_key": str(one.application_key),
                    "name": manifest.application.name,
                    "version": version.version if version else "",
                    "version_key": str(version.key) if version else "",
                    "package": one.package,
                }
            )
        return {
            "id": str(order.id),
            "label": order.label,
            "status": "running",
            "information": "",
            "reason": "",
            "step": STEPS[0],
            "steps": [
                {"name": name, "state": "waiting", "can_abort": name not in UNSTOPPABLE, "began_at": None,
                 "ended_at": None, "warnings": 0, "errors": 0}
                for name in STEPS
            ],
            "applications": applications,
            "interventions": [],
            "is_applied": False,
            "started_at": clock.text(self._environment.now()),
            "started_by": order.by.name,
            "ended_at": None,
            "prepared_until": None,
            # from here on only for a restart
            "todo": list(STEPS),
            "two_stage": order.two_stage,
            "accepted": list(order.accept),
            "answered": [],
            "expired": False,
            "redeploy": [str(key) for key in order.redeploy],
            "settings": [
                [str(one.application_key), one.settings] for one in order.applications if one.settings
            ],
            "zones": {str(one.application_key): one.deployment_zone for one in order.applications},
            "sites": {},
            "modules": {
                str(module.key): module.name for package in found.values() for module in package.manifest.modules
            },
        }  # fmt: skip

    def _refuse(self, order: NewDeploymentBody, found: dict[str, Package], modules: dict[str, str]) -> None:
        """Raise a problem when it must not start now. Nothing is awaited from here to the start."""
        self.expire()
        settings = self._environment.values["settings"]
        limit = settings["parallel_deployment_limit"] if settings["parallel_deployments"] else 1
        active = list(self._active.values())
        if active and limit and len(active) >= limit:
            names = ", ".join(one.state["label"] or one.id for one in active[:5])
            raise Problem(409, "deployment-busy", "Another deployment has not ended", f"{names}; the limit is {limit}.")
        for other in active:
            if common := sorted(modules.keys() & other.state["modules"].keys()):
                raise Problem(
                    409,
                    "module-busy",
                    "Another deployment has a module in common",
                    f"{modules[common[0]]} is part of {other.state['label'] or other.id}, which has not ended.",
                )
        arrivals = []
        for one in order.applications:
            arrival = steps.arrival(self._environment, found[one.package], one.package, site="", by="")
            steps.refuse_downgrade(self._environment, found[one.package])
            values = configuration.load(self._environment, str(one.application_key))
            configuration.changed(arrival.application, arrival.content, values, one.settings)
            arrivals.append(arrival.application)
        publishing.refuse_clashes(self._environment, arrivals)
        for key in order.redeploy:
            self._environment.require(str(key))
        zones = {zone["key"] for zone in self._environment.values["facts"]["deployment_zones"]}
        for one in order.applications:
            if one.deployment_zone and one.deployment_zone not in zones:
                raise bad_body(f"deployment_zone: {one.deployment_zone} is none; see /facts")

    def _answer(self, deployment: Deployment, order: ContinueBody) -> None:
        """Take what people decided; a problem when a setting is still missing. Then it is running again."""
        state = deployment.state
        known = {application["application_key"] for application in state["applications"]}
        for key in order.settings:
            if key not in known:
                raise Problem(422, "setting-unknown", "There is no such setting", f"{key} is not in the deployment.")
        given = [*state["settings"], *([key, change] for key, change in order.settings.items())]
        missing = steps.missing_settings(self._environment, deployment, given)
        if missing and order.information == "needs_configuration_or_confirmation":
            names = [name for one in missing for name in one["names"]]
            raise Problem(409, "setting-missing", "A setting has no value", ", ".join(names)[:1000])
        accepted = {one["kind"] for one in state["interventions"]} - {"missing_setting"}
        state.update(
            status="running",
            information="",
            interventions=[],
            settings=given,
            accepted=sorted({*state["accepted"], *accepted}),
            answered=[*state["answered"], order.information],
            prepared_until=None,
        )
        with self._environment.store.transaction():
            deployment.log(f"{order.by.name} continues.")
            deployment.save()

    # Running
    def _run(self, deployment: Deployment) -> None:
        deployment.task = asyncio.create_task(self._steps(deployment))

    async def _steps(self, deployment: Deployment) -> None:
        state = deployment.state
        try:
            await self._load(deployment)
            while state["todo"]:
                name = state["todo"][0]
                self._begin(deployment, name)
                await self._pace(name)
                interventions = await steps.WORK[name](deployment)
                self._end(deployment, name)
                if self._must_wait(deployment, name, interventions):
                    return
            self._finish(deployment)
        except asyncio.CancelledError:
            if state["status"] != "aborting":
                raise  # the process stops: the next one picks it up
            self._undo(deployment, state["reason"])
        except Exception as error:
            reason = error.detail if isinstance(error, Problem) else str(error) or type(error).__name__
            if not isinstance(error, Problem | BadPackage | OSError):
                logger.exception("Deployment %s failed", deployment.id)
            if state["is_applied"]:
                deployment.log(reason, kind="Error")
                self._finish(deployment)
            else:
                deployment.step(state["step"])["state"] = "failed"
                self._undo(deployment, reason, is_error=True)

    async def _load(self, deployment: Deployment) -> None:
        """After a restart the manifests are read again."""
        for application in deployment.state["applications"]:
            checksum = application["package"]
            if checksum not in deployment.packages:
                path = self._environment.shelf.package(checksum)
                deployment.packages[checksum] = await _manifest_of(path)

    async def _pace(self, name: str) -> None:
        """As the test switch says."""
        switch = self._environment.switch
        if switch is not None:
            if seconds := switch.body.step_seconds.get(name, 0.0):  # type: ignore[call-overload]
                await asyncio.sleep(seconds)
            if switch.body.fail_step == name:
                raise Problem(503, "switched", "Switched to fail", f"The test switch makes the step {name} fail.")

    def _begin(self, deployment: Deployment, name: str) -> None:
        deployment.state["step"] = name
        deployment.step(name).update(state="running", began_at=clock.text(self._environment.now()), ended_at=None)
        deployment.save()

    def _end(self, deployment: Deployment, name: str) -> None:
        deployment.step(name).update(state="finished", ended_at=clock.text(self._environment.now()))
        deployment.state["todo"].pop(0)
        deployment.save()

    def _must_wait(self, deployment: Deployment, name: str, interventions: list[dict[str, Any]]) -> bool:
        """Stop here for people, when they have something to decide."""
        state = deployment.state
        open_ = [one for one in interventions if one["kind"] not in state["accepted"]]
        if open_:
            is_impact = open_[0]["kind"] == "process_impact"
            information = "business_process_impact" if is_impact else "needs_configuration_or_confirmation"
            self._wait(deployment, information, open_)
            return True
        if name == "distributing" and state["two_stage"]:
            state["todo"] = ["analyzing_processes", *UNSTOPPABLE]
            state["prepared_until"] = clock.text(self._environment.now() + PREPARED_SECONDS)
            self._wait(deployment, "deploy_prepared", [])
            return True
        return False

    def _wait(self, deployment: Deployment, information: str, interventions: list[dict[str, Any]]) -> None:
        deployment.state.update(status="needs_user_intervention", information=information, interventions=interventions)
        with self._environment.store.transaction():
            for one in interventions:
                deployment.log(one["message"])
            deployment.log(f"Waiting: {information.replace('_', ' ')}.")
            deployment.save()

    def _finish(self, deployment: Deployment) -> None:
        state = deployment.state
        errors, warnings = deployment.count("errors"), deployment.count("warnings")
        status = "finished_with_errors" if errors else "finished_with_warnings" if warnings else "finished_successful"
        state.update(status=status, information="", ended_at=clock.text(self._environment.now()))
        with self._environment.store.transaction():
            deployment.log("Finished.")
            deployment.save()
        self._active.pop(deployment.id, None)

    def _undo(self, deployment: Deployment, reason: str, *, is_error: bool = False) -> None:
        """Leave nothing of it but its log. Nothing of the environment had changed."""
        state = deployment.state
        for step in state["steps"]:
            if step["state"] in ("running", "finished"):
                step.update(state="undone", ended_at=step["ended_at"] or clock.text(self._environment.now()))
        now = clock.text(self._environment.now())
        sites = list(state["sites"].values())
        state.update(
            status="aborted", information="", interventions=[], reason=reason, ended_at=now, prepared_until=None
        )
        with self._environment.store.transaction():
            deployment.log(f"Aborted: {reason}", kind="Error" if is_error else "Info")
            deployment.save()
        self._active.pop(deployment.id, None)
        for site in sites:
            remove(self._environment.shelf.site(site))
        remove(self._environment.shelf.staging / deployment.id)

    def _state(self, id_: str) -> dict[str, Any]:
        active = self._active.get(id_)
        if active is not None:
            return active.state
        row = self._environment.store.row(
            "SELECT state FROM deployment WHERE environment = ? AND id = ?", self._environment.id, id_
        )
        if row is None:
            raise Problem(404, "deployment-unknown", "There is no such deployment", f"None has the id {id_}.")
        return dict(json.loads(row[0]))


async def _manifest_of(path: Path) -> Package:
    return await in_thread(lambda stop: packages.manifest_of(path))


def _public(state: dict[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in PUBLIC}


def _too_late(detail: str) -> Problem:
    return Problem(409, "too-late", "It cannot be aborted any more", detail)

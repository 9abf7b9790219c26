"""outsystems-pipeline 0.11.0, unchanged, against a console that runs: what its scripts print, and what happened."""

import json
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from deployments.models import DeploymentPlan
from environments import maintenance
from environments.models import ApplicationVersion, Module
from tests.deployments.scenes import wait_for, wait_for_step
from tests.factories import actor
from tests.lifetime.api.conftest import create_caller

pytestmark = pytest.mark.django_db(transaction=True)

BOTH = ("-l", "Order Portal,Customer Core")
LATEST = "deploy_latest_tags_to_target_env"
BY_MANIFEST = "deploy_tags_to_target_env_with_manifest"
PACKAGE = "deploy_package_to_target_env"


def publish(console, *, page, tag=""):
    """Two applications, of which one uses the other, are published; without a tag they are changed since the last."""
    offered = {"name": "GetCustomer", "kind": "Action", "signature": "a1"}
    core = console.development.publish_web(
        "Customer Core", page="core " + page, tag=tag, modules=[{"name": "CustomerCore", "produces": [offered]}]
    )
    known = console.development.application("Customer Core")
    consumes = [
        {
            "module_key": known["modules"][0]["key"],
            "module_name": "CustomerCore",
            "application_key": known["key"],
            "application_name": "Customer Core",
            "elements": [offered],
        }
    ]
    properties = [{"name": "Greeting", "data_type": "Text", "default_value": "Hello"}]
    module = {"name": "OrderPortal", "consumes": consumes, "site_properties": properties}
    console.development.publish_web("Order Portal", page=page, tag=tag, modules=[module])
    console.synchronize()
    return core


def written(client, path):
    return json.loads((client.artifacts / path).read_text())


def rewritten(file, manifest):
    Path(file).write_text(json.dumps(manifest))
    return file


def test_a_whole_pipeline_runs_unchanged(console, client_in):
    client = client_in
    publish(console, page="one", tag="1.0")
    publish(console, page="two")

    client.run("fetch_lifetime_data").succeeded(
        "OS Environments data retrieved successfully.", "OS Applications data retrieved successfully."
    )
    assert [one["Name"] for one in written(client, "environments.cache")] == list(console.environments)
    client.run("tag_modified_apps", "-d", "Development", *BOTH).succeeded(
        "Application 'Order Portal' successfully tagged to version 1.0.1 on environment 'Development'",
        "Application 'Customer Core' successfully tagged to version 1.0.1 on environment 'Development'",
    )
    client.run("generate_manifest_file", "-s", "Development", *BOTH).succeeded()
    manifest = written(client, "trigger_manifest/auto_gen_trigger_manifest.json")
    assert [one["VersionNumber"] for one in manifest["ApplicationVersions"]] == ["1.0.1", "1.0.1"]
    file = str(client.artifacts / "trigger_manifest" / "auto_gen_trigger_manifest.json")

    # One step
    to_quality = ("-s", "Development", "-d", "Quality", *BOTH)
    client.run(LATEST, *to_quality).succeeded("finished with status finished_successful")
    assert console.quality.page("OrderPortal") == "two"
    client.run(LATEST, *to_quality).succeeded("Deployment skipped because Quality")
    client.run("validate_manifest_apps_exist_in_target_env", "-s", "Quality", "-f", file).succeeded(
        "All Trigger Manifest Applications exist in the Quality Environment."
    )

    # Two steps
    client.run(BY_MANIFEST, "-s", "Quality", "-d", "Pre Production", "-f", file).succeeded(
        "first step finished successfully."
    )
    assert console.preproduction.page("OrderPortal") == ""
    client.run("continue_deployment_to_target_env", "-d", "Pre Production").succeeded(
        "finished with status finished_successful"
    )
    assert console.preproduction.page("OrderPortal") == "two"

    # Configuration
    module = Module.objects.get(name="OrderPortal")
    quality = console.environments["Quality"]
    path = f"/PropertiesAPI/rest/v1/Modules/{module.key}/Environments/{quality.key}/"
    [item] = json.loads(console.call("GET", path))
    names = ("ModuleKey", "ModuleName", "ConfigurationItemKey", "ConfigurationItemName", "ConfigurationItemType")
    value = {"EnvironmentKey": str(quality.key), "EnvironmentName": "Quality", "TargetValue": "Olá, “Quality”"}
    manifest["ConfigurationItems"] = [{**{name: item[name] for name in names}, "Values": [value]}]
    client.run("apply_configuration_values_to_target_env", "-e", "Quality", "-m", json.dumps(manifest)).succeeded(
        "New value successfully applied to configuration item 'Greeting' (SiteProperty)."
    )
    key = console.quality.application("Order Portal")["key"]
    settings = console.quality.call("GET", f"/applications/{key}/settings").json
    assert [one["effective_value"] for one in settings["site_properties"]] == ["Olá, “Quality”"]

    # Files
    client.run("fetch_apps_packages", "-s", "Development", "-l", "Order Portal", "-n").succeeded()
    package = client.artifacts / "application_oap" / "Order_Portal_v1_0_1.oap"
    assert json.loads(zipfile.ZipFile(package).read("manifest.json"))["version"]["version"] == "1.0.1"
    fetched = client.run(
        "fetch_apps_source_code", "-t", "Development", "-l", "Order Portal", "-n", url="-lu", token="-lt"
    )
    fetched.succeeded()
    assert (client.artifacts / "sourcecode_data" / "modules" / "OrderPortal" / "module.json").exists(), fetched.output
    client.run(
        "fetch_lifetime_solution_from_manifest", "-s", "Development", "-f", file, "-sn", "Sol1", "-r"
    ).succeeded()
    solution = client.artifacts / "solution_data" / "Sol1.osp"
    assert len([name for name in zipfile.ZipFile(solution).namelist() if name.endswith(".oap")]) == 2
    client.run(PACKAGE, "-d", "Recovery", "-p", str(solution)).succeeded("finished with status finished_successful")
    assert console.recovery.page("OrderPortal") == "two"

    # A manifest that asks for a tag, and a plan that somebody else has saved
    publish(console, page="three")
    for one in manifest["ApplicationVersions"]:
        one["VersionNumber"] = "2.0.0"
    client.run("tag_apps_based_on_manifest_data", "-d", "Development", "-f", rewritten(file, manifest)).succeeded(
        "Order Portal application successuflly tagged as 2.0.0 on Development"
    )
    body = {
        "ApplicationOperations": [
            {"ApplicationVersionKey": str(one.key)} for one in ApplicationVersion.objects.filter(version="2.0.0")
        ],
        "SourceEnvironmentKey": str(console.environments["Development"].key),
        "TargetEnvironmentKey": str(quality.key),
    }
    key = console.call("POST", "/lifetimeapi/rest/v2/deployments", body)
    client.run("start_deployment_to_target_env", "-d", "Quality").succeeded("finished with status finished_successful")
    assert console.quality.page("OrderPortal") == "three"
    started = written(client, "deployment_data/deployment_manifest.cache")
    assert [one["DeploymentOperation"] for one in started] == ["Deploy 2.0.0"] * 2

    assert str(DeploymentPlan.objects.newest_first()[0].key) == key
    assert list(DeploymentPlan.objects.values_list("status", flat=True)) == ["finished_successful"] * 4
    assert "Traceback" not in console.log.read_text()


def test_maintenance_mode_refuses_clearly_and_leaves_nothing_behind(console, client_in):
    client = client_in
    publish(console, page="one", tag="1.0")
    client.run("generate_manifest_file", "-s", "Development", *BOTH).succeeded()
    client.run("fetch_apps_packages", "-s", "Development", "-l", "Customer Core", "-n").succeeded()
    file = str(client.artifacts / "trigger_manifest" / "auto_gen_trigger_manifest.json")
    package = str(client.artifacts / "application_oap" / "Customer_Core_v1_0.oap")
    told = ("is in maintenance mode since", "Ada Lovelace enabled it", "New disks")
    ends = timezone.now() + timedelta(hours=1)
    maintenance.enable(console.environments["Quality"], by=actor(), reason="New disks", expected_end=ends)

    # The target
    client.run(LATEST, "-s", "Development", "-d", "Quality", *BOTH).failed("Quality", *told)
    client.run(BY_MANIFEST, "-s", "Development", "-d", "Quality", "-f", file).failed("Quality", *told)
    client.run(PACKAGE, "-d", "Quality", "-p", package).failed("Quality", *told)
    # The source
    client.run(BY_MANIFEST, "-s", "Quality", "-d", "Recovery", "-f", file).failed("Quality", *told)

    assert not DeploymentPlan.objects.exists()
    assert console.quality.version("Order Portal") == ""
    # Where it would be tagged
    publish(console, page="two")
    maintenance.enable(console.environments["Development"], by=actor(), reason="New disks")
    client.run("tag_modified_apps", "-d", "Development", *BOTH).failed("Development", *told)
    maintenance.disable(console.environments["Development"], by=actor(), reason="Done")
    # Neither: a third environment's maintenance mode is in nobody's way
    client.run(LATEST, "-s", "Development", "-d", "Recovery", *BOTH).succeeded(
        "finished with status finished_successful"
    )
    assert not AuditEvent.objects.filter(message__startswith="Created deployment plan", message__contains="Quality")


@pytest.mark.parametrize("where", ["target", "source"])
def test_maintenance_mode_in_the_middle_of_a_deployment_ends_the_run(console, client_in, where):
    client = client_in
    publish(console, page="one", tag="1.0")
    console.quality.behave(step_seconds={"generating": 60})
    name = "Quality" if where == "target" else "Development"
    path = f"/lifetimeapi/rest/v2/environments/{console.environments[name].key}/maintenancemode"
    operator = create_caller(username="night-shift").secret
    deploy = (LATEST, "-s", "Development", "-d", "Quality", "-l", "Customer Core")

    with client.start(*deploy) as run:
        wait_for(DeploymentPlan.objects.filter(status="running").exists)
        plan = wait_for_step(DeploymentPlan.objects.get(), "generating")
        wanted = {"IsMaintenanceModeEnabled": True, "Reason": "New disks", "Wait": True}
        told = json.loads(console.call("PUT", path, wanted, token=operator))
        result = run.result()

    result.failed(f"Deployment plan {plan.key} started being executed.", "finished with status aborted")
    said = [one["Message"] for one in written(client, "DeploymentErrors")["DeploymentLog"]]
    assert [one for one in said if f"Maintenance mode of '{name}' was enabled: New disks" in one], said
    assert [one for one in said if "night-shift" in one], said
    assert (told["IsMaintenanceModeEnabled"], told["Phase"], told["Aborted"]["Plans"]) == (True, "in_force", 1)
    assert (told["Certificate"]["IsQuiet"], told["Certificate"]["ContactsInsideTheQuiet"]) == (True, 0)
    assert json.loads(console.call("GET", path))["Certificate"] == told["Certificate"]
    place = console.quality if where == "target" else console.development
    assert place.heard(after=datetime.fromisoformat(told["Certificate"]["QuietAt"])) == []
    client.run(*deploy).failed("New disks", "night-shift enabled it")  # and so does the job that tries again
    assert console.quality.page("CustomerCore") == ""

    console.quality.behave()
    console.call("PUT", path, {"IsMaintenanceModeEnabled": False, "Reason": "Done"}, token=operator)
    wait_for(lambda: json.loads(console.call("GET", path))["Phase"] == "ended")
    client.run(*deploy).succeeded("finished with status finished_successful")
    assert console.quality.page("CustomerCore") == "core one"
    statuses = DeploymentPlan.objects.order_by("pk").values_list("status", flat=True)
    assert list(statuses) == ["aborted", "finished_successful"]

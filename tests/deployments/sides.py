"""Two environments for plans: real platforms, each test with a fresh pair, and what developers publish there."""

from functools import partial
from itertools import count
from uuid import NAMESPACE_DNS, uuid4, uuid5

from deployments import plans
from deployments.choices import Choice
from deployments.models import OperationKind
from environments import sync
from environments.models import Application, ApplicationVersion
from environments.platform.applications import key_of, module_key_of
from tests.factories import actor, create_environment
from tests.platforms import Place, Platform

PAIRS = 40


class Pairs:
    """A source and a target process; `fresh` gives the next environment of each."""

    def __init__(self, directory):
        start = partial(Platform.start, count=PAIRS, applications=0)
        self.processes = [start(directory / name, name=name) for name in ("Development", "Production")]
        self._numbers = count(1)

    def fresh(self):
        number = next(self._numbers)
        return [Side(platform, number) for platform in self.processes]

    def stop(self):
        for process in self.processes:
            process.stop()


class Side(Place):
    """One environment of a platform that hosts many; `environment` is what the console knows of it."""

    environment = None

    def register(self, **extra):
        """Known to the console from now on, with what it has."""
        name = extra.pop("name", self.platform.name)
        self.environment = create_environment(name=name, address=self.address, token=self.token, **extra)
        return self.synchronize()

    def synchronize(self):
        run = sync.request(self.environment, by=actor())
        sync.run([run.pk])
        run.refresh_from_db()
        assert run.status == "finished", run.message
        return self.environment

    def publish(self, name, version="1.0", *modules, **application):
        """Modules are as `module` makes them; the same ones have the same version key everywhere."""
        modules = modules or [module(name.replace(" ", ""))]
        given = {"name": name, "modules": list(modules), **application}
        return self.platform.publish(address=self.address, **given, **({"version": version} if version else {}))

    def remove(self, name):
        self.platform.remove(str(key_of(name)), address=self.address)

    def calls(self, part=""):
        return [line for line in self.log() if part in line["path"]]


def module(name, *, offers=(), uses=(), **extra):
    """Offers are "GetOrder" or "GetOrder:2" with a signature; uses are as `use` makes them."""
    key = str(uuid5(NAMESPACE_DNS, f"{name} {offers} {uses}"))
    return {"name": name, "version_key": key, "produces": [*map(element, offers)], "consumes": list(uses), **extra}


def use(application, name, *elements):
    return {
        "module_key": str(module_key_of(application, name)),
        "module_name": name,
        "application_key": str(key_of(application)),
        "application_name": application,
        "elements": [*map(element, elements)],
    }


def element(text):
    name, _, signature = text.partition(":")
    return {"kind": "Action", "name": name, "signature": signature or "1"}


def deploying(name, version):
    """The tag of this number."""
    found = ApplicationVersion.objects.get(application__name=name, version=version)
    return Choice(application_key=found.application.key, kind=OperationKind.DEPLOY, version_key=found.key)


def tagging(name, number):
    key = Application.objects.get(name=name).key
    return Choice(application_key=key, kind=OperationKind.TAG_AND_DEPLOY, version_number=number)


def nothing(name):
    return Choice(application_key=Application.objects.get(name=name).key, kind=OperationKind.NOTHING)


def make_plan(source, target, *choices, by=None):
    return plans.create(source.environment, target.environment, by=by or actor(), choices=choices)


def tag(side, name, version, **order):
    """As somebody else does, beside the console."""
    key = str(key_of(name))
    order.setdefault("version_key", str(uuid4()))
    answer = side.tag(key, version, **order)
    assert answer.status == 201, answer.body
    return answer.json

"""What deploying does to references, computed from both sides."""

import random
import time
from uuid import NAMESPACE_DNS, uuid5

import pytest

from deployments import impact
from deployments.content import Application, Element, Module, Use
from deployments.impact import Case
from environments.platform import references
from environments.platform.content import Content

PRODUCER_TYPES = {"Producer Module Missing", "Producer Element Missing", "Producer Element Incompatible"}


def key(name):
    return uuid5(NAMESPACE_DNS, name)


def use(module, *elements, application=None):
    """Of a module; elements are "GetOrder" or "GetOrder:2", with a signature."""
    application = application or module
    return Use(
        module_key=key(f"module {module}"),
        module=module,
        application_key=key(application),
        application=application,
        elements=tuple(Element("Action", *split(one)) for one in elements),
    )


def split(element):
    name, _, signature = element.partition(":")
    return name, signature or "1"


def module(name, *, offers=(), uses=(), version="1", is_told=True, of=None):
    return Module(
        key=key(of or f"module {name}"),
        name=name,
        version_key=key(f"{name} {version} {sorted(offers)}"),
        produces={("Action", split(one)[0]): split(one)[1] for one in offers} if is_told else None,
        consumes=tuple(uses),
    )


def application(name, version="1.0", *modules, is_modified=False, is_read=True, of=None, **content):
    """With one module of its own name, unless modules are given."""
    return Application(
        key=key(of or name),
        name=name,
        version=version,
        is_modified=is_modified,
        modules=modules or (module(name, version=version, **content),),
        is_read=is_read,
    )


def assess(*arriving, source=(), target=(), **extra):
    """`source` is what else the source has."""
    return impact.assess(
        Case(
            source="Development",
            target="Production",
            in_source={one.key: one for one in (*arriving, *source)},
            in_target={one.key: one for one in target},
            arriving={one.key: one for one in arriving},
            **extra,
        )
    )


def told(found):
    return [(one.severity, one.type, one.message) for one in found.findings]


def types(found):
    return [one.type for one in found.findings]


SHOP = application("Shop", "1.2", uses=[use("Orders", "GetOrder")])
ORDERS = application("Orders", "5.0", offers=["GetOrder"])


def test_nothing_is_found_when_everything_is_there():
    found = assess(SHOP, target=[ORDERS])

    assert (found.findings, found.dependencies, found.dependents, found.removals) == ([], [], [], [])


def test_a_missing_producer_that_the_source_has_is_added():
    found = assess(SHOP, source=[ORDERS])

    assert found.dependencies == [ORDERS]
    assert found.findings == []


def test_dependencies_of_dependencies_are_added_too():
    orders = application("Orders", "5.0", offers=["GetOrder"], uses=[use("Payment", "Pay")])
    payment = application("Payment", "2.0", offers=["Pay"])

    assert assess(SHOP, source=[orders, payment]).dependencies == [orders, payment]


def test_a_producer_that_was_not_read_is_asked_for_first():
    unread = application("Orders", "5.0", is_read=False, is_told=False)

    found = assess(SHOP, source=[unread])

    assert (found.unread, found.findings) == ({ORDERS.key}, [])


def test_a_missing_producer_that_is_nowhere_is_an_error():
    [finding] = assess(SHOP).findings

    assert (finding.severity, finding.type, finding.elements) == ("Error", "Producer Module Missing", 1)
    assert finding.message == (
        "Deploying Shop 1.2 results in broken references: module Shop is incompatible with module Orders of Orders "
        "since the module is missing in Production. Development does not have it either."
    )
    assert (finding.consumer, finding.producer) == (SHOP.key, ORDERS.key)
    assert finding.consumer_module == (key("module Shop"), "Shop")
    assert finding.producer_module == (key("module Orders"), "Orders")


def test_what_is_kept_out_is_not_added_and_says_why():
    found = assess(SHOP, source=[ORDERS], kept_out={ORDERS.key: "Orders is blocked."})

    assert found.dependencies == []
    assert found.findings[0].message.endswith("since the module is missing in Production. Orders is blocked.")


@pytest.mark.parametrize(
    ("offers", "type_", "why", "count"),
    [
        (["GetOrder:2"], "Producer Element Incompatible", "Action GetOrder is of another signature.", 1),
        (["Other"], "Producer Element Missing", "Action GetOrder is missing.", 1),
    ],
)
def test_an_element_that_does_not_fit_is_an_error(offers, type_, why, count):
    orders = application("Orders", "4.0", offers=offers)

    [finding] = assess(SHOP, source=[orders], target=[orders]).findings

    assert (finding.severity, finding.type, finding.elements) == ("Error", type_, count)
    assert finding.message == (
        f"Deploying Shop 1.2 results in broken references: module Shop is incompatible with module Orders of Orders "
        f"since {why}"
    )


def test_many_elements_are_counted():
    shop = application("Shop", "1.2", uses=[use("Orders", "A", "B", "C", "D", "E")])
    orders = application("Orders", offers=["E"])

    [finding] = assess(shop, target=[orders]).findings

    assert "since Action A, Action B, Action C and 1 more are missing." in finding.message
    assert finding.elements == 4


def test_a_newer_producer_of_the_source_that_has_the_element_is_added():
    old = application("Orders", "4.0", offers=["Other"])

    found = assess(SHOP, source=[ORDERS], target=[old])

    assert (found.dependencies, found.findings) == ([ORDERS], [])


def test_a_producer_that_is_older_in_the_source_is_not_added():
    newer = application("Orders", "6.0", offers=["Other"])

    found = assess(SHOP, source=[ORDERS], target=[newer])

    assert (found.dependencies, types(found)) == ([], ["Producer Element Missing"])


def test_a_consumer_in_the_target_that_gets_broken_is_an_error():
    orders = application("Orders", "5.0", offers=["GetOrder:2"])
    shop = application("Shop", "1.1", uses=[use("Orders", "GetOrder")])

    [finding] = assess(orders, target=[shop, ORDERS]).findings

    assert finding.message == (
        "Deploying Orders 5.0 results in broken references: module Shop of Shop is incompatible with module Orders of "
        "Orders since Action GetOrder is of another signature."
    )
    assert (finding.type, finding.producer, finding.consumer) == (
        "Producer Element Incompatible",
        orders.key,
        shop.key,
    )


def test_a_consumer_of_the_source_that_would_fit_is_named():
    orders = application("Orders", "5.0", offers=["GetOrder:2"])
    shop = application("Shop", "1.1", uses=[use("Orders", "GetOrder")])
    newer = application("Shop", "2.0", uses=[use("Orders", "GetOrder:2")])
    unread = application("Shop", "2.0", is_read=False, is_told=False)

    assert assess(orders, source=[unread], target=[shop, ORDERS]).unread == {shop.key}
    [finding] = assess(orders, source=[newer], target=[shop, ORDERS]).findings
    assert finding.message.endswith(" Shop 2.0 of Development would fit: add it to the plan.")


def test_what_was_broken_before_is_not_the_plans():
    shop = application("Shop", "1.1", uses=[use("Orders", "Gone")])

    assert assess(ORDERS, target=[shop, ORDERS]).findings == []


def test_a_consumer_of_another_version_of_the_producer_is_outdated_and_can_be_republished():
    newer = application("Orders", "5.1", offers=["GetOrder", "ListOrders"])

    found = assess(newer, target=[SHOP, ORDERS])

    [finding] = found.findings
    assert (finding.severity, finding.type) == ("Warning", "Consumer Module Outdated")
    assert finding.message == (
        "Deploying Orders 5.1 leaves Shop outdated in Production: module Shop was published against another version of "
        "module Orders. Republish Shop."
    )
    assert [(one.application, one.reason) for one in found.dependents] == [(SHOP, "It uses Orders of Orders.")]


def test_a_newer_producer_that_stays_in_the_source_is_a_warning():
    newer = application("Orders", "5.1", offers=["GetOrder", "ListOrders"])

    [finding] = assess(SHOP, source=[newer], target=[ORDERS]).findings

    assert (finding.severity, finding.type) == ("Warning", "Newer Producer Module Available")
    assert finding.message == (
        "Shop 1.2 would use module Orders of Orders 5.0, as it is in Production; Development has a newer one, of "
        "Orders 5.1. Add Orders to the plan if Shop needs it."
    )


def test_a_newer_producer_does_not_matter_to_a_module_that_stays_as_it_is():
    newer = application("Orders", "5.1", offers=["GetOrder", "ListOrders"])

    assert assess(SHOP, source=[newer], target=[ORDERS, SHOP]).findings == []


def test_modules_that_the_new_version_lacks_would_go_and_break_who_uses_them():
    before = application("Orders", "4.0", module("Orders"), module("OldOrders", offers=["GetOrder"]))
    after = application("Orders", "5.0", module("Orders"))
    shop = application("Shop", uses=[use("OldOrders", "GetOrder", application="Orders")])

    found = assess(after, target=[before, shop])

    assert [(one.application.name, one.module.name) for one in found.removals] == [("Orders", "OldOrders")]
    [finding] = found.findings
    assert (finding.severity, finding.type) == ("Error", "Producer Module Missing")
    assert finding.message.startswith("Deploying Orders 5.0 results in broken references: module Shop of Shop")


def test_a_module_that_moves_needs_both_applications_in_the_plan():
    here = application("Orders", "4.0", module("Orders"), module("Prices", offers=["PriceFor"]))
    without = application("Orders", "5.0", module("Orders"))
    prices = application("Pricing", "1.0", module("Prices", offers=["PriceFor"]))
    shop = application("Shop", uses=[use("Prices", "PriceFor", application="Orders")])

    alone = assess(prices, source=[without], target=[here, shop])
    together = assess(prices, without, target=[here, shop])

    assert ("Error", "ProducerModuleMoved") in [(one.severity, one.type) for one in alone.findings]
    assert "Deploy Pricing in one plan with a version of Orders that no longer has it." in alone.findings[0].message
    assert (types(together), together.removals) == ([], [])


def test_a_module_that_only_uses_others_and_moves_is_a_moved_consumer():
    here = application("Orders", "4.0", module("Orders"), module("Report"))
    report = application("Reporting", "1.0", module("Report"))

    assert types(assess(report, target=[here])) == ["ConsumerModuleMoved"]


def test_a_producer_that_is_part_of_another_application_in_the_source_is_a_warning():
    here = application("Orders", "4.0", module("Prices", offers=["PriceFor"]))
    pricing = application("Pricing", "1.0", module("Prices", offers=["PriceFor"]))
    shop = application("Shop", uses=[use("Prices", "PriceFor", application="Pricing")])

    [finding] = assess(shop, source=[pricing], target=[here]).findings

    assert (finding.severity, finding.type) == ("Warning", "ProducerModuleMoved")


def test_names_collide_whatever_their_case():
    shop = application("Shop", "1.0", module("A"))
    other = application("SHOP", "1.0", module("B"), of="another shop")
    with_module = application("Store", "1.0", module("a", of="another module"))

    [applications] = assess(shop, target=[other]).findings
    [modules] = assess(shop, target=[with_module]).findings

    assert (applications.severity, applications.type) == ("Error", "NameColision")
    assert applications.message == (
        "Deploying Shop 1.0 is not possible: Production has an application named SHOP already, which is another one. "
        "Rename one of them."
    )
    assert "Production has a module named a in Store already" in modules.message
    assert assess(application("Shop", "1.1", module("A")), target=[shop]).findings == []


@pytest.mark.parametrize(
    ("source", "target", "severity"),
    [
        ("11.28.1", "11.28.0.99", None),
        ("11.28.1", "11.30", None),
        ("11.28.1", "11.20.0", "Warning"),
        ("12.1.0", "11.28.1", "Error"),
        ("", "11.28.1", None),
        ("odd", "11.28.1", None),
    ],
)
def test_an_older_platform_may_not_take_what_a_newer_one_made(source, target, severity):
    found = assess(SHOP, target=[ORDERS], source_platform=source, target_platform=target).findings

    assert [(one.severity, one.type) for one in found] == (
        [(severity, "IncompatiblePlatformServer")] if severity else []
    )


def test_what_nobody_can_tell_is_taken_to_fit():
    silent = application("Orders", "5.0", is_told=False)

    assert assess(SHOP, target=[silent]).findings == []
    assert assess(SHOP, source=[silent]).dependencies == [silent]


def landscape(chance, *, applications, modules, uses, signatures=1):
    """Applications whose references all fit; with more signatures another landscape differs from it."""
    names = [f"A{number}" for number in range(applications)]
    offered = {
        (name, place): [f"E{one}:{chance.randint(1, signatures)}" for one in range(3)]
        for name in names
        for place in range(modules)
    }
    found = []
    for name in names:
        made = []
        for place in range(modules):
            used = {(chance.choice(names), chance.randrange(modules)) for _ in range(uses)} - {(name, place)}
            consumed = [
                use(f"{other}_{where}", *chance.sample(offered[other, where], 2), application=other)
                for other, where in sorted(used)
            ]
            made.append(module(f"{name}_{place}", offers=offered[name, place], uses=consumed))
        found.append(application(name, "2.0", *made))
    return found


@pytest.mark.parametrize("seed", range(30))
def test_with_its_dependencies_nothing_that_arrives_lacks_a_producer(seed):
    chance = random.Random(seed)
    source = landscape(chance, applications=12, modules=3, uses=2, signatures=2)
    older = [
        application(one.name, "1.0", *one.modules)
        for one in landscape(chance, applications=12, modules=3, uses=2, signatures=2)
    ]
    target = chance.sample(older, 5)
    arriving = chance.sample(source, 3)

    found = assess(*arriving, source=source, target=target)

    brought = {one.key for one in (*arriving, *found.dependencies)}
    broken = [one for one in found.findings if one.type in PRODUCER_TYPES]
    assert [one for one in broken if one.consumer in brought] == []
    assert not brought & {one.application.key for one in found.dependents}
    again = assess(*arriving, *found.dependencies, source=source, target=target)
    assert again.dependencies == []
    assert sorted(map(str, told(again))) == sorted(map(str, told(found)))


@pytest.mark.parametrize("seed", range(10))
def test_the_same_again_changes_nothing(seed):
    everything = landscape(random.Random(seed), applications=10, modules=3, uses=2)

    found = assess(*everything, target=everything)

    assert (found.findings, found.dependents, found.removals, found.dependencies) == ([], [], [], [])


def as_the_platform_has_it(one):
    parts = {
        str(module.key): {
            "produces": [{"kind": kind, "name": name, "signature": of} for (kind, name), of in module.produces.items()],
            "consumes": [
                {
                    "module_key": str(used.module_key),
                    "module_name": used.module,
                    "application_key": str(used.application_key),
                    "application_name": used.application,
                    "elements": [element._asdict() for element in used.elements],
                }
                for used in module.consumes
            ],
        }
        for module in one.modules
    }
    modules = [{"key": str(module.key), "name": module.name} for module in one.modules]
    return {"key": str(one.key), "name": one.name, "modules": modules}, Content(parts, {})


def broken_for_the_platform(target, arriving):
    """As the platform decides it before a deployment: (key of the application, first words of the message)."""
    before = {str(one.key): as_the_platform_has_it(one) for one in target}
    incoming = {str(one.key): as_the_platform_has_it(one) for one in arriving}
    everything = {**before, **incoming}
    found = references.broken(everything, references.touched(everything, set(incoming)))
    anyway = references.broken(before, {one.application_key for one in found} - incoming.keys())
    return {
        (one.application_key, one.names[0]) for one in found if one.application_key in incoming or one not in anyway
    }


@pytest.mark.parametrize("seed", range(40))
def test_the_platform_finds_the_same_references_broken(seed):
    chance = random.Random(seed)
    source = landscape(chance, applications=8, modules=2, uses=2, signatures=2)
    others = landscape(chance, applications=8, modules=2, uses=2, signatures=2)
    older = [application(one.name, "1.0", *one.modules[: chance.choice([1, 2, 2])]) for one in others]
    target, arriving = chance.sample(older, 6), chance.sample(source, 3)
    kept_out = {one.key: "It stays." for one in source}  # or dependencies would be added

    found = assess(*arriving, source=source, target=target, kept_out=kept_out)

    mine = {(str(one.consumer), one.producer_module[1]) for one in found.findings if one.type in PRODUCER_TYPES}
    assert mine == broken_for_the_platform(target, arriving)


def test_200_applications_of_10_modules_take_less_than_50_milliseconds():
    source = landscape(random.Random(1), applications=200, modules=10, uses=4)
    target = [application(one.name, "1.0", *one.modules) for one in source[:150]]
    took = []
    for _ in range(5):
        began = time.process_time()
        found = assess(*source[:100], source=source, target=target)
        took.append(time.process_time() - began)

    assert len(found.dependencies) == 50
    assert min(took) < 0.05

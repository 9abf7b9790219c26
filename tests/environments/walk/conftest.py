import pytest

from tests.environments.walk.scene import Scene
from tests.platforms import Platform

PLACES = 150  # environments of one server process, each new to the test that it is given to


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A platform, and addresses on it that nobody has talked to; the first of all is the bystander's."""
    with Platform.start(tmp_path_factory.mktemp("platform"), count=PLACES) as platform:
        yield platform, iter(platform.addresses[1:])


@pytest.fixture
def scene(db, places, client):
    platform, addresses = places
    return Scene(platform, next(addresses), client)

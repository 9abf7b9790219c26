import pytest

from tests.deployments import scenes
from tests.deployments.factories import create_route


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Gives a fresh source and target, again and again."""
    with scenes.platforms(tmp_path_factory.mktemp("platforms")) as pair:
        yield pair


@pytest.fixture
def scene(pairs, request, transactional_db):
    """A source with Hotel 1.0 tagged and a target without it; `@pytest.mark.parametrize("scene", …)` may change it."""
    return scenes.Scene(pairs(), **getattr(request, "param", {}))


@pytest.fixture
def route():
    """A source and a target that nobody speaks to."""
    return create_route()

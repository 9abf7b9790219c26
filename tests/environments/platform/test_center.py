"""The Service Center: who gets in, what they may do there, and who is blocked."""

import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from tests.platforms import package

PASSWORD = "Correct horse 1"
LEVELS = {"nobody": 0, "guest": 1, "reader": 2, "monitor": 3, "opener": 4, "developer": 5, "owner": 6}


@pytest.fixture
def key(platform) -> str:
    """Of Back Office, in an environment with one person of each level."""
    give(platform)
    for name in LEVELS:
        platform.set_password(name, PASSWORD)
    return platform.application("Back Office")["key"]


def give(platform, *, teams=(), application_roles=(), **changes) -> None:
    roles = [
        {
            "key": name,
            "name": name.title(),
            "level": level,
            "create_applications": level > 5,
            "add_system_dependencies": False,
        }
        for name, level in LEVELS.items()
    ]
    users = [
        {
            "key": f"user-{name}",
            "username": name,
            "name": name.title(),
            "email": "",
            "is_active": True,
            "role_key": name,
        }
        for name in LEVELS
    ]
    for user in users:
        user.update(changes.get(user["username"], {}))
    body = {"roles": roles, "users": users, "teams": list(teams), "application_roles": list(application_roles)}
    assert platform.call("PUT", "/permissions", body).status == 200


class Browser:
    def __init__(self, platform, prefix="") -> None:
        self.platform, self.prefix, self.cookie = platform, prefix, ""

    def ask(self, method, path, body=None, headers=None):
        sent = {"Cookie": self.cookie, "Host": "platform", **(headers or {})}
        if isinstance(body, dict):
            body, sent = urlencode(body).encode(), {"Content-Type": "application/x-www-form-urlencoded", **sent}
        status, got, content = self.platform.request(method, f"{self.prefix}/ServiceCenter{path}", body, sent)
        if got["Set-Cookie"]:
            self.cookie = got["Set-Cookie"].split(";")[0]
        return status, got, content.decode()

    def log_in(self, name, password=PASSWORD):
        return self.ask("POST", "/login", {"username": name, "password": password})

    def upload(self, content, **headers):
        body = (
            b'--b0und\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
            b'--b0und\r\nContent-Disposition: form-data; name="package"; filename="x.zip"\r\n\r\n' + content
        )
        return self.ask(
            "POST", "/publish", body + b"\r\n--b0und--\r\n",
            {"Content-Type": "multipart/form-data; boundary=b0und", **headers},
        )  # fmt: skip


def logged_in(platform, name) -> Browser:
    browser = Browser(platform)
    assert browser.log_in(name)[0] == 303
    return browser


def test_pages_need_a_log_in(platform, key):
    for path in ("/", f"/applications/{key}", f"/applications/{key}/logs", "/publish"):
        status, headers, _ = Browser(platform).ask("GET", path)
        assert (status, headers["Location"]) == (303, "/ServiceCenter/login")
    assert Browser(platform).ask("GET", "/login")[0] == 200


@pytest.mark.parametrize("name", LEVELS)
def test_each_level_sees_and_may_what_the_ladder_says(platform, key, name):
    browser, level = Browser(platform), LEVELS[name]
    status, headers, _ = browser.log_in(name.upper())
    assert status == (303 if level >= 1 else 403)
    if level < 1:
        return
    flags = headers["Set-Cookie"]
    assert "HttpOnly" in flags and "SameSite=Lax" in flags and "Path=/ServiceCenter" in flags  # noqa: PT018

    page = browser.ask("GET", "/")[2]
    assert ("Back Office" in page) == (level >= 2)
    assert ("Publish a package" in page) == (level >= 5)
    paths = {"": 2, "/logs": 3, "/settings": 3}
    for path, least in paths.items():
        expected = 200 if level >= least else 404 if level < 2 else 403
        assert browser.ask("GET", f"/applications/{key}{path}")[0] == expected
    assert browser.ask("POST", f"/applications/{key}/settings", {})[0] == (
        303 if level >= 5 else 403 if level >= 2 else 404
    )
    assert browser.ask("GET", "/publish")[0] == (200 if level >= 5 else 403)
    known = package("Back Office", modules=[{"name": "BackOffice"}, {"name": "BackOffice_CW"}])
    assert browser.upload(known)[0] == (303 if level >= 5 else 403)
    assert browser.upload(package("New one"))[0] == (303 if level >= 6 else 403)


def test_team_and_application_roles_replace_the_default_upward_and_downward(platform, key):
    team = {"key": "t", "name": "T", "applications": [key], "members": [
        {"user_key": "user-guest", "role_key": "owner"}, {"user_key": "user-owner", "role_key": "guest"},
        {"user_key": "user-nobody", "role_key": "owner"},
    ]}  # fmt: skip
    give(platform, teams=[team])
    path = f"/applications/{key}/settings"

    guest = logged_in(platform, "guest")
    assert "Save" in guest.ask("GET", path)[2]
    assert guest.ask("GET", f"/applications/{platform.application('Users')['key']}")[0] == 404
    assert logged_in(platform, "owner").ask("GET", path)[0] == 404
    assert Browser(platform).log_in("nobody")[0] == 403
    give(
        platform,
        teams=[team],
        application_roles=[{"user_key": "user-guest", "application_key": key, "role_key": "reader"}],
    )
    assert guest.ask("GET", path)[0] == 403


def test_a_change_of_permissions_holds_at_once(platform, key):
    browser = logged_in(platform, "developer")
    give(platform, developer={"role_key": "reader"})
    assert browser.ask("GET", f"/applications/{key}/settings")[0] == 403
    give(platform, developer={"is_active": False})
    assert browser.ask("GET", "/")[0] == 303
    assert Browser(platform).log_in("developer")[0] == 403
    give(platform, developer={"role_key": None})
    assert Browser(platform).log_in("developer")[0] == 403


def test_logging_out_ends_the_session(platform, key):
    browser = logged_in(platform, "reader")
    cookie = browser.cookie
    assert browser.ask("POST", "/logout")[0] == 303
    browser.cookie = cookie
    assert browser.ask("GET", "/")[0] == 303


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_another_site_cannot_make_a_browser_act(platform, key, headers):
    browser = logged_in(platform, "owner")
    before = platform.call("GET", "/digests").body

    assert browser.ask("POST", f"/applications/{key}/settings", {}, headers)[0] == 403
    assert browser.upload(package("Evil"), **headers)[0] == 403
    assert platform.call("GET", "/digests").body == before


def test_settings_are_changed_on_the_page(platform, key):
    browser = logged_in(platform, "developer")
    page = browser.ask("GET", f"/applications/{key}/settings")[2]
    field = re.search(r'name="(site_properties/[^"]*/PageSize)"', page)[1]

    assert browser.ask("POST", f"/applications/{key}/settings", {field: "many"})[0] == 422
    assert browser.ask("POST", f"/applications/{key}/settings", {field: "75"})[0] == 303
    settings = platform.call("GET", f"/applications/{key}/settings").json["site_properties"]
    assert {one["name"]: one["effective_value"] for one in settings}["PageSize"] == "75"
    assert platform.call("GET", f"/applications/{key}/logs?last=1").json["lines"][0]["user"] == "Developer"


def test_what_comes_from_packages_is_escaped(platform, key):
    evil = "<script>alert(1)</script>"
    made = platform.publish_package(package(evil, application={"name": evil, "description": evil, "url_path": "Evil"},
                                            modules=[{"name": "Evil"}]))  # fmt: skip
    browser = logged_in(platform, "owner")
    pages = [browser.ask("GET", path)[2] for path in ("/", f"/applications/{made['key']}")]
    pages.append(platform.request("GET", "/", None, {})[2].decode())

    assert not any(evil in page for page in pages)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"--b0und\r\n\r\n",
        b"--b0und--\r\n",
        b"--b0und\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b0und--",
    ],
)
def test_a_broken_form_is_refused(platform, key, body):
    browser = logged_in(platform, "owner")
    status = browser.ask("POST", "/publish", body, {"Content-Type": "multipart/form-data; boundary=b0und"})[0]

    assert status in (400, 422)
    assert list((platform.data / "files" / "1" / "staging").iterdir()) == []
    assert "Traceback" not in platform.output()


@pytest.mark.parametrize("password", ["short1A", "alllowercase1", "ALLUPPERCASE1", "NoDigitsInHere", ""])
def test_a_weak_password_is_refused(platform, password):
    with pytest.raises(AssertionError, match="422"):
        platform.set_password("ana", password)


def test_wrong_passwords_block_a_log_in_and_the_console_unblocks_it(platform, key):
    browser = Browser(platform)
    assert [browser.log_in("owner", "wrong")[0] for _ in range(3)] == [403] * 3
    status, _, page = browser.log_in("owner")
    assert (status, "few minutes" in page) == (429, True)
    assert browser.log_in("reader")[0] == 303

    [block] = platform.call("GET", "/blocked-addresses").json["blocked"]
    assert (block["kind"], block["username"], block["address"], block["attempts"]) == ("login", "owner", "127.0.0.1", 3)
    platform.restart()
    assert browser.log_in("owner")[0] == 429
    assert platform.call("DELETE", f"/blocked-addresses/{block['key']}").status == 204
    assert platform.call("DELETE", f"/blocked-addresses/{block['key']}").problem == "block-unknown"
    assert browser.log_in("owner")[0] == 303
    assert platform.call("GET", "/blocked-addresses").json == {"blocked": []}


def test_many_wrong_passwords_at_once_count_each(platform, key):
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: Browser(platform).log_in("owner", "wrong")[0], range(20)))

    assert sorted(statuses) == [403] * 3 + [429] * 17


def test_a_block_ends_by_itself_and_the_next_one_is_longer(platform, key):
    browser = Browser(platform)
    for _ in range(3):
        browser.log_in("owner", "wrong")
    platform.behave(clock_offset_seconds=31)
    assert platform.call("GET", "/blocked-addresses", seconds=60).json == {"blocked": []}
    assert [browser.log_in("owner", "wrong")[0] for _ in range(3)] == [403] * 3
    status, _, page = browser.log_in("owner")
    assert (status, "60 minutes" in page) == (429, True)


def test_an_address_that_tries_many_names_is_blocked(platform, key):
    browser = Browser(platform)
    for number in range(20):
        browser.log_in(f"somebody {number}", "wrong")

    assert browser.log_in("owner")[0] == 429
    assert [one["kind"] for one in platform.call("GET", "/blocked-addresses").json["blocked"]] == ["address"]

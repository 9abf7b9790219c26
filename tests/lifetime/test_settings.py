"""What a wrong variable says: which one, and what it has to be. A typo never silently means "off"."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from lifetime import database, settings


@pytest.mark.parametrize(("text", "is_on"), [("on", True), ("Yes", True), ("1", True), ("off", False), ("", False)])
def test_a_flag_is_on_or_off(monkeypatch, text, is_on):
    monkeypatch.setenv("LIFETIME_HTTPS", text)
    assert settings._flag("LIFETIME_HTTPS") is is_on


def test_a_flag_with_a_typo_is_refused(monkeypatch):
    monkeypatch.setenv("LIFETIME_HTTPS", "onn")
    with pytest.raises(ImproperlyConfigured, match="LIFETIME_HTTPS has to be on or off"):
        settings._flag("LIFETIME_HTTPS")


def test_an_empty_number_is_the_default(monkeypatch):
    monkeypatch.setenv("LIFETIME_WORKERS", "")
    assert settings._number("LIFETIME_WORKERS", 2) == 2


@pytest.mark.parametrize("text", ["two", "0", "-1", "1.5"])
def test_a_wrong_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("LIFETIME_WORKERS", text)
    with pytest.raises(ImproperlyConfigured, match="LIFETIME_WORKERS has to be a whole number from 1"):
        settings._number("LIFETIME_WORKERS", 2)


@pytest.mark.parametrize("url", ["nonsense", "mysql://ada:sesame@host/name", "postgres://ada:sesame@host:port/name"])
def test_a_wrong_database_is_refused_without_its_password(monkeypatch, tmp_path, url):
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL has to be postgres://") as refusal:
        database.configuration(tmp_path)
    assert "sesame" not in str(refusal.value)

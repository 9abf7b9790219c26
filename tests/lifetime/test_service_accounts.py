"""Accounts of programs and their tokens."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.models import AuditEvent
from lifetime import people, service_accounts
from lifetime.changes import Author
from lifetime.models import Role, ServiceAccount, ServiceToken, User
from tests.factories import create_environment, create_user
from tests.lifetime.factories import administrator, create_manager, create_role, messages, untouched

pytestmark = pytest.mark.django_db


def create_account(username="pipeline", **options):
    return ServiceAccount.objects.create(
        username=username, role=options.pop("role", Role.objects.developer()), **options
    )


def test_a_token_opens_the_door_and_is_kept_as_a_hash_only():
    by = administrator()
    account = service_accounts.create(username="pipeline", description="CI", role=Role.objects.developer(), by=by)
    issued = service_accounts.issue_token(account, by=by)

    assert service_accounts.authenticate(issued.secret) == account
    assert len(issued.secret) >= 43 + 4
    assert issued.token.prefix == issued.secret[:10]
    for table in (ServiceToken, ServiceAccount, AuditEvent):
        assert issued.secret not in str(list(table.objects.values()))
    assert messages() == ["Created service account 'pipeline'", "Issued a token of service account 'pipeline'"]
    issued.token.refresh_from_db()
    assert issued.token.last_used_at


@pytest.mark.parametrize("secret", ["", "ltc_", "ltc_wrong", "x" * 300, "ltc_" + "\0" * 40, "ltc_\ud800"])
def test_other_tokens_open_nothing(secret):
    service_accounts.issue_token(create_account(), by=Author())

    assert service_accounts.authenticate(secret) is None


def test_a_renewed_token_overlaps_with_the_old_one_for_a_day():
    account, by = create_account(), administrator()
    old = service_accounts.issue_token(account, by=by)
    new = service_accounts.issue_token(account, by=by)

    assert service_accounts.authenticate(old.secret) == service_accounts.authenticate(new.secret) == account
    old.token.refresh_from_db()
    assert abs(old.token.expires_at - timezone.now() - timedelta(hours=24)) < timedelta(minutes=1)
    assert messages()[-1] == "Renewed the token of service account 'pipeline'"
    ServiceToken.objects.filter(pk=old.token.pk).update(expires_at=timezone.now())
    assert service_accounts.authenticate(old.secret) is None
    assert service_accounts.authenticate(new.secret) == account


def test_renewing_never_lengthens_what_ends_sooner():
    account, by = create_account(), administrator()
    soon = timezone.now() + timedelta(hours=1)
    old = service_accounts.issue_token(account, by=by, expires_at=soon)
    service_accounts.issue_token(account, by=by)

    old.token.refresh_from_db()
    assert old.token.expires_at == soon


def test_a_revoked_token_ends_at_once():
    account, by = create_account(), administrator()
    issued = service_accounts.issue_token(account, by=by)
    service_accounts.revoke_token(issued.token, by=by)

    assert service_accounts.authenticate(issued.secret) is None
    issued.token.refresh_from_db()
    assert (issued.token.state, issued.token.revoked_by) == ("revoked", "Ada Lovelace")
    untouched(service_accounts.revoke_token, issued.token, by=by, match="Ada Lovelace revoked this token already")


@pytest.mark.parametrize("change", [{"is_active": False}])
def test_an_inactive_account_opens_nothing_and_gets_no_token(change):
    account, by = create_account(), administrator()
    issued = service_accounts.issue_token(account, by=by)
    service_accounts.edit(account, change, by=by)

    assert service_accounts.authenticate(issued.secret) is None
    untouched(service_accounts.issue_token, account, by=by, match="inactive. Make it active first")
    service_accounts.edit(account, {"is_active": True}, by=by)
    assert service_accounts.authenticate(issued.secret) == account
    assert messages()[-2:] == ["Made service account 'pipeline' inactive", "Made service account 'pipeline' active"]


@pytest.mark.parametrize("days", [-1, 0, 5 * 365 + 1])
def test_a_token_expires_in_the_future(days):
    account, by = create_account(), administrator()
    expires_at = timezone.now() + timedelta(days=days)

    refusal = untouched(service_accounts.issue_token, account, by=by, expires_at=expires_at, match="within five years")
    assert refusal.field == "expires_at"


def test_people_and_service_accounts_share_their_usernames():
    create_user(username="grace")
    account = create_account("pipeline")
    by = administrator()
    developer = Role.objects.developer()

    said = "The username GRACE is taken by a person"
    untouched(service_accounts.create, username="GRACE", role=developer, by=by, match=said)
    untouched(service_accounts.edit, account, {"username": "GRACE"}, by=by, match=said)
    said = "The username Pipeline is taken by a service account"
    untouched(people.create, username="Pipeline", name="P", email="p@example.org", role=developer, by=by, match=said)
    with pytest.raises(IntegrityError, match="is taken"), transaction.atomic():
        create_user(username="PIPELINE")
    with pytest.raises(IntegrityError, match="is taken"), transaction.atomic():
        create_account("Grace")
    with pytest.raises(IntegrityError, match="is taken"), transaction.atomic():
        User.objects.filter(username="grace").update(username="pipeline")


def test_nobody_makes_an_account_that_may_do_more_than_oneself():
    create_environment()
    own = create_manager(level=3)
    by = Author(who=create_user(role=own))
    high = create_role("High", level=5)
    account, above = create_account(role=own), create_account("other", role=high)

    untouched(service_accounts.create, username="new", role=high, by=by, match="High allows more than yours")
    untouched(service_accounts.edit, account, {"role": high}, by=by, match="High allows more than yours")
    untouched(service_accounts.issue_token, above, by=by, match="High allows more than yours")
    service_accounts.edit(account, {"description": "CI"}, by=by)
    assert messages() == ["Changed description of service account 'pipeline' from '' to 'CI'"]


def test_a_service_account_renews_its_own_token_and_changes_nothing_else_of_itself():
    account = create_account(role=Role.objects.administrator())
    by = Author(who=account, address="203.0.113.9")

    service_accounts.issue_token(account, by=by)
    untouched(service_accounts.edit, account, {"description": "x"}, by=by, match="cannot change itself")
    event = AuditEvent.objects.get()
    assert (event.actor_name, event.actor_address) == ("pipeline", "203.0.113.9")

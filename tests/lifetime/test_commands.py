"""The commands create_service_account and export_permissions."""

import re
import zipfile
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEvent
from lifetime import permissions_report, service_accounts
from lifetime.models import ApplicationRole, Role, ServiceAccount, ServiceToken, Team, TeamApplication, TeamMembership
from tests.factories import create_environment, create_user
from tests.lifetime.factories import create_application, create_role, everything, messages

pytestmark = pytest.mark.django_db


def run(*arguments, **options):
    out, err = StringIO(), StringIO()
    call_command(*arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def test_a_service_account_is_created_with_its_token_alone_on_the_output():
    Role.objects.developer()
    out, err = run("create_service_account", "pipeline", description="CI", days=30)

    account = ServiceAccount.objects.get()
    assert service_accounts.authenticate(out.strip()) == account
    assert out.count("\n") == 1
    assert "shown only this once" in err
    assert ServiceToken.objects.get().expires_at
    assert messages() == ["Created service account 'pipeline'", "Issued a token of service account 'pipeline'"]


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (["grace"], {}, "The username grace is taken by a person"),
        (["pipeline"], {"role": "Nobody"}, "There is no role Nobody. There are: Administrator, Developer."),
        (["pipeline"], {"days": 0}, "A token lives for 1 to 1825 days"),
        (["two words"], {}, "A username has letters"),
    ],
)
def test_a_wrong_service_account_is_refused(arguments, options, said):
    Role.objects.developer()
    create_user(username="grace")
    before = everything()

    with pytest.raises(CommandError, match=said):
        run("create_service_account", *arguments, **options)
    assert everything() == before


def cells(path, sheet):
    """The texts of a sheet, row by row, read without any library of ours."""
    with zipfile.ZipFile(path) as book:
        xml = book.read(f"xl/worksheets/sheet{sheet}.xml").decode()
    rows = re.findall(r"<row [^>]*>(.*?)</row>", xml, re.DOTALL)
    return [re.findall(r"<t(?: [^>]*)?>(.*?)</t>|<c [^>]*/>", row) for row in rows]


def test_the_report_says_who_may_do_what(tmp_path):
    create_environment(name="Development")
    create_environment(name="Production", purpose="Production")
    user = create_user(name="=cmd()", username="grace", manages_infrastructure=False)
    team, app = Team.objects.create(name="Claims"), create_application("Invoices")
    tester = create_role("Tester", level=6)
    TeamMembership.objects.create(team=team, user=user, role=tester)
    TeamApplication.objects.create(team=team, application=app)
    ApplicationRole.objects.create(user=user, application=app, role=create_role("Hidden", level=0))
    file = tmp_path / "report.xlsx"
    out, _ = run("export_permissions", str(file))

    assert out == f"{file}: 1 users\n"
    heads, *people = cells(file, 1)
    assert heads[-2:] == ["Development", "Production"]
    assert people == [
        [
            *("=cmd()", "grace", user.email, "yes", "Developer", "no", "no", "Claims"),
            *("Change and Deploy Applications + Create Applications", "List Applications"),
        ]
    ]
    assert cells(file, 2)[1][4:] == ["Change and Deploy Applications"] * 2
    assert cells(file, 3)[1] == ["Invoices", "=cmd()", "grace", "Hidden", "Access", "Access"]
    assert cells(file, 4)[1] == ["Invoices", "Claims"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.xlsx"]
    assert AuditEvent.objects.get().message == "Exported the user permissions report"


def test_the_report_is_written_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(permissions_report, "AT_ONCE", 3)
    for _ in range(8):
        create_user()

    assert permissions_report.write(tmp_path / "report.xlsx") == 8
    assert len(cells(tmp_path / "report.xlsx", 1)) == 9


@pytest.mark.parametrize(
    ("name", "said"), [("report.csv", "does not end in .xlsx"), ("no/report.xlsx", "no folder"), ("is.xlsx", "exists")]
)
def test_a_report_that_cannot_be_written_is_refused(tmp_path, name, said):
    (tmp_path / "is.xlsx").write_text("before")

    with pytest.raises(CommandError, match=said):
        run("export_permissions", str(tmp_path / name))
    assert (tmp_path / "is.xlsx").read_text() == "before"
    run("export_permissions", str(tmp_path / "is.xlsx"), force=True)
    assert zipfile.is_zipfile(tmp_path / "is.xlsx")

"""A small page for a person who looks at the server's address. It tells nothing that is secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from environments.platform import clock
from environments.platform.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from environments.platform.environment import Environment

STYLE = b"""\
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-inline-size: 60rem; margin: 2rem auto; padding-inline: 1rem; }
h1 { margin-block-end: 0; }
table { border-collapse: collapse; inline-size: 100%; }
caption { text-align: start; font-weight: 600; padding-block: 1rem 0.25rem; }
th, td { text-align: start; padding: 0.25rem 0.75rem 0.25rem 0; border-block-end: 1px solid #8886; }
.scroll { overflow-x: auto; }
"""
POLICY = b"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

FORMS_POLICY = POLICY.replace(b"form-action 'none'", b"form-action 'self'")


def of_environment(environment: Environment) -> Answer:
    facts = environment.values["facts"]
    applications: list[tuple[str, ...]] = [
        (
            _opened(environment, application),
            escape(application["kind"]),
            escape((application["version"] or "no version") + (" +" if application["is_modified"] else "")),
            str(len(application["modules"])),
            escape(f"{application['changed_at']} by {application['changed_by']}"),
        )
        for application in environment.applications()
    ]
    serving: list[tuple[str, ...]] = [
        (str(call.contact), escape(f"{call.method} {call.path}"), clock.text(call.began_at))
        for call in environment.calls
    ]
    return page(
        facts["name"],
        f"<h1>{escape(facts['name'])}</h1>"
        f"<p>{escape(facts['purpose'])} environment, platform {escape(facts['version'])}. "
        f'<a href="{escape(environment.prefix)}/ServiceCenter/">Service Center</a></p>'
        + table("Being served now", ("Contact", "Request", "Since"), serving, "Nothing.")
        + table(
            f"Applications ({len(applications)})",
            ("Name", "Kind", "Version", "Modules", "Changed"),
            applications,
            "None yet.",
        ),
        style=f"{environment.prefix}/platform.css",
    )


def of_all(environments: Iterable[Environment]) -> Answer:
    items = "".join(f'<li><a href="{escape(one.prefix)}">{escape(one.name)}</a></li>' for one in environments)
    return page("Environments", f"<h1>Environments</h1><ol>{items}</ol>", style="/platform.css")


def style() -> Answer:
    return Answer(200, STYLE, [(b"content-type", b"text/css"), (b"content-length", b"%d" % len(STYLE))])


def table(caption: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], empty: str) -> str:
    """Cells are HTML."""
    if not rows:
        return f"<h2>{escape(caption)}</h2><p>{escape(empty)}</p>"
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _opened(environment: Environment, application: Mapping[str, Any]) -> str:
    name = escape(application["name"])
    if not application["url_path"]:
        return name
    return f'<a href="{escape(environment.prefix)}/{escape(application["url_path"])}/">{name}</a>'


def page(title: str, content: str, *, style: str, status: int = 200, forms: bool = False) -> Answer:
    """A whole page; `content` is HTML."""
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{escape(style)}"></head>'
        f"<body><main>{content}</main></body></html>"
    ).encode()
    return Answer(
        status,
        body,
        [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"content-security-policy", FORMS_POLICY if forms else POLICY),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ],
    )

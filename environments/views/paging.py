"""Histories by keyset, newest first: the thousandth page costs what the first one does."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest

SIZE = 50
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    rows: list[Row]
    is_first: bool
    older: int | None  # there are rows before the one with this id


def page(rows: QuerySet[Row], request: HttpRequest, *, by: str = "pk") -> Page[Row]:
    """The rows older than `?before=` (an id), newest first by a column and then by id."""
    before = request.GET.get("before", "")
    newest_first = rows.order_by(f"-{by}", *(["-pk"] if by != "pk" else []))
    if before:
        newest_first = _older(newest_first, rows, before, by)
    found = list(newest_first[: SIZE + 1])
    older = found[SIZE - 1].pk if len(found) > SIZE else None
    return Page(rows=found[:SIZE], is_first=not before, older=older)


def _older(newest_first: QuerySet[Row], rows: QuerySet[Row], before: str, by: str) -> QuerySet[Row]:
    if not (before.isascii() and before.isdigit() and len(before) < 19):
        raise Http404("There is no such page.")
    if by == "pk":
        return newest_first.filter(pk__lt=int(before))
    last = rows.filter(pk=int(before)).values_list(by, flat=True).first()
    if last is None:
        raise Http404("There is no such page.")
    return newest_first.filter(Q(**{f"{by}__lte": last}), Q(**{f"{by}__lt": last}) | Q(pk__lt=int(before)))

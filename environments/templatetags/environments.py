"""Markup that is repeated a thousand times on a page, too often for the template language."""

from collections.abc import Iterable

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from environments.overview import Tile

register = template.Library()

TILE = '<li class="tile tile--{}"><a href="{}">{}</a><span>{}</span><b>{}</b></li>\n'


@register.simple_tag
def show_tiles(tiles: Iterable[Tile]) -> SafeString:
    return format_html_join("", TILE, tiles)

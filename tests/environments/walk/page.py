"""What a page offers, read from its HTML as a browser would: controls, what they say, and where they lead."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
FIELDS = {"input", "select", "textarea"}


@dataclass
class Element:
    tag: str
    attributes: dict
    parents: list = field(repr=False)
    text: str = ""

    @property
    def words(self):
        return " ".join(self.text.split())

    def within(self, tag):
        """The nearest element of this kind around it."""
        return next((one for one in reversed(self.parents) if one.tag == tag), None)

    @property
    def is_greyed(self):
        locked = self.tag in FIELDS and any(
            one.tag == "fieldset" and "disabled" in one.attributes for one in self.parents
        )
        return locked or "disabled" in self.attributes or self.attributes.get("aria-disabled") == "true"


class Page(HTMLParser):
    def __init__(self, url, html):
        super().__init__()
        self.url = url
        self.elements = []
        self._open = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), list(self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        if any(one.tag == tag for one in self._open):
            while self._open.pop().tag != tag:
                pass

    def handle_data(self, data):
        for one in self._open:
            one.text += data

    def control(self, label):
        """The one link, button or box that says this, to those who hear the page too."""
        found = self.controls(label)
        assert len(found) == 1, (label, self.url, [self._label(one) for one in self.elements if self._label(one)])
        return found[0]

    def controls(self, label):
        return [one for one in self.elements if self._label(one) == label]

    def _label(self, element):
        if element.attributes.get("aria-hidden") == "true":
            return ""
        if element.tag in ("a", "button"):
            return element.words
        label = element.within("label") if element.tag == "input" else None
        return label.words if label else ""

    def why(self, control):
        """The text by which a greyed control explains itself."""
        wanted = control.attributes.get("aria-describedby", "")
        [found] = [one for one in self.elements if one.attributes.get("id") == wanted]
        return found.words

    def leads(self, control):
        """Where it leads when it is used; "" nowhere."""
        if control.is_greyed or control.attributes.get("type") == "hidden":
            return ""
        for name in ("href", "hx-get", "hx-post", "formaction"):
            if name in control.attributes:
                return control.attributes[name]
        form = control.within("form")
        if form is None or control.attributes.get("type") == "button":
            return ""
        return form.attributes.get("action", self.url)

    @property
    def targets(self):
        """Every address that something on the page leads to, other than the page itself."""
        found = {
            self.leads(one)
            for one in self.elements
            if one.tag in ("a", "button", "input") or "hx-get" in one.attributes
        }
        return found - {"", self.url}

    def form(self, control):
        """The fields around a control that people see."""
        return [
            one
            for one in self.elements
            if one.tag in FIELDS
            and one.within("form") is control.within("form")
            and one.attributes.get("type") != "hidden"
        ]

    def filled(self, control):
        """What a browser would send of the form around a control, as it is."""
        data = {}
        for one in self.elements:
            name = one.attributes.get("name")
            if one.tag not in FIELDS or not name or one.within("form") is not control.within("form"):
                continue
            if one.tag == "select":
                chosen = [other for other in self.elements if one in other.parents and "selected" in other.attributes]
                data[name] = chosen[0].attributes["value"] if chosen else ""
            elif one.tag == "textarea":
                data[name] = one.text.removeprefix("\n")
            elif one.attributes.get("type") not in ("checkbox", "radio") or "checked" in one.attributes:
                data[name] = one.attributes.get("value", "")
        return data

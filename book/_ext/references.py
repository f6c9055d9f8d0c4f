"""The list of references is labelled as the text cites: names and year."""

from collections.abc import Iterable, Iterator
from typing import Any

from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx


class AuthorYearLabels(BaseLabelStyle):
    """`Hernandez Ruiz et al., 2020`."""

    def format_labels(self, entries: Iterable[Any]) -> Iterator[str]:
        """A label for each entry, in their order."""
        for entry in entries:
            people = entry.persons.get("author") or entry.persons.get("editor") or []
            names = [
                " ".join([*person.prelast_names, *person.last_names]) for person in people
            ]
            if len(names) > 2:
                names = [f"{names[0]} et al."]
            yield f"{' and '.join(names)}, {entry.fields['year']}"


class AuthorYear(Style):
    """References in the order of their citation."""

    default_label_style = AuthorYearLabels


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the style with the bibliography."""
    register_plugin("pybtex.style.formatting", "author_year", AuthorYear)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

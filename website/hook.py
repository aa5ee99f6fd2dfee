"""What MkDocs needs to make a site of pages that are written to be read in the repository.

Pages link to files of the repository, and three pages lie outside docs/: the links lead to copies of them. No server is
known that has the repository, so the site is complete by itself.
"""

import os
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
SHIM = "https://unpkg.com/iframe-worker/shim"  # what the theme would load for a search without a server
LINK = re.compile(r"(\[[^][]*)?\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)  # a table must not begin in the line after one
ITEM = re.compile(r"^(?![-*] |\d+\. |\s|$)(.+\n)(?=(?:[-*]|1\.) )", re.MULTILINE)  # a list begins after an empty line


def on_files(files, config):
    """Add the pages and the files that lie outside docs/."""
    for origin, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / origin).read_text()))
    for name in ("style.css", "search.js"):
        files.append(File.generated(config, name, content=(ROOT / "website" / name).read_text()))
    texts = {f"docs/{page.src_uri}": page.content_string for page in files.documentation_pages()}
    for target in sorted({found for page, text in texts.items() for found in _outside(page, text)}):
        files.append(File.generated(config, _copy(target), content=(ROOT / target).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links lead to the pages and copies of this site, and separate what Markdown of the web does not."""
    origin = _origin(page.file.src_uri)

    def led(link):
        target = _target(origin, link[2])
        if (ROOT / target).is_dir() and not (ROOT / target / "README.md").is_file():
            return link[0]  # refused by --strict: link to a file
        place = posixpath.relpath(_place(target), posixpath.dirname(page.file.src_uri) or ".")
        text = link[1] or ""
        if text.endswith((".md", "/", "[README")) and target not in ("", "docs"):
            text = f"[{_title(_text_of(target))}"
        return f"{text}]({place}{link[3] or ''})"

    return LINK.sub(led, _separated(COMMENT.sub("", markdown)))


def on_post_page(output, page, config):
    """Load the site's own search.js instead of a script from elsewhere."""
    return output.replace(SHIM, get_relative_url("search.js", page.url))


def on_post_template(output, template_name, config):
    """Do the same for the page that a server shows for a missing one."""
    return output.replace(SHIM, "/search.js")


def _separated(text):
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else ITEM.sub(r"\1\n", part) for part in parts)


def _origin(uri):
    """Return the file of the repository that a page of the site is."""
    return next((origin for origin, page in PAGES.items() if page == uri), f"docs/{uri}")


def _target(origin, link):
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def _place(target):
    """Return where a file of the repository lies in the site."""
    if target in PAGES:
        return PAGES[target]
    if target.startswith("docs/"):
        found = target.removeprefix("docs/")
        return f"{found}/README.md" if (ROOT / target).is_dir() else found
    return _copy(target)


def _text_of(target):
    path = ROOT / target
    return (path / "README.md" if path.is_dir() else path).read_text()


def _title(text):
    """Return the heading of a page, by which the site names it where the repository has the file's name."""
    return next((line[2:] for line in text.splitlines() if line.startswith("# ")), "page")


def _copy(target):
    return f"source/{target}.txt"  # which a browser shows


def _outside(page, text):
    origin = _origin(page.removeprefix("docs/"))
    for link in LINK.finditer(text):
        target = _target(origin, link[2])
        if target not in PAGES and not target.startswith("docs/") and os.path.isfile(ROOT / target):
            yield target

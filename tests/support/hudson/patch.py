"""The changes to Hudson's war for Java 9 and newer, and for checked crumbs; pure but for the two files.

As shipped it wants a class of Java 8 to stop a build's processes, so that an aborted build is a failed one whose processes go on;
and the filter that refuses a request without a crumb is commented out. The given class is put where it wins over the shipped one.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from kubernaut.errors import PlatformFailed

CLASS = "WEB-INF/classes/hudson/util/ProcessTree$UnixReflection.class"
WEB_XML = "WEB-INF/web.xml"
_HINT = "It is made for Hudson 3.3.2's war."
_COMMENTED = (
    ("<!-- filter>\n    <filter-name>csrf-filter", "<filter>\n    <filter-name>csrf-filter"),
    ("CrumbFilter</filter-class>\n  </filter -->", "CrumbFilter</filter-class>\n  </filter>"),
    ("<!-- filter-mapping>\n    <filter-name>csrf-filter", "<filter-mapping>\n    <filter-name>csrf-filter"),
    ("<url-pattern>/*</url-pattern>\n  </filter-mapping -->", "<url-pattern>/*</url-pattern>\n  </filter-mapping>"),
)


def patch(shipped: Path, compiled: Path, patched: Path) -> None:
    """Write a war like the shipped one in which builds can be aborted and crumbs are checked.

    Args:
        shipped: Hudson's war.
        compiled: The class ``ProcessTree$UnixReflection``.
        patched: The file to write; nothing is left there when the war is refused.

    Raises:
        PlatformFailed: The file is not a war, or not of the supported version.
    """
    try:
        with zipfile.ZipFile(shipped) as source:
            if CLASS in source.namelist():
                raise PlatformFailed(f"{shipped} is patched already.", hint=_HINT)
            web_xml = with_crumbs(source.read(WEB_XML).decode())
            _write(source, web_xml, compiled, patched)
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        patched.unlink(missing_ok=True)
        raise PlatformFailed(f"{shipped} is not a war that can be patched: {error}.", hint=_HINT) from error


def with_crumbs(web_xml: str) -> str:
    """Return web.xml with the crumb filter in force. Raises: PlatformFailed: It is another one than expected."""
    for commented, plain in _COMMENTED:
        if web_xml.count(commented) != 1:
            raise PlatformFailed(f"The war's {WEB_XML} is another one than expected: {commented!r} is not in it once.", hint=_HINT)
        web_xml = web_xml.replace(commented, plain)
    return web_xml


def _write(source: zipfile.ZipFile, web_xml: str, compiled: Path, patched: Path) -> None:
    # Level 1: the copy is made on first use while a client waits, and unpacked again at every start.
    with zipfile.ZipFile(patched, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for entry in source.infolist():
            target.writestr(entry, web_xml if entry.filename == WEB_XML else source.read(entry), compresslevel=1)
        target.write(compiled, CLASS)

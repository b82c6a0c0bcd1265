"""The server's home folder: who may do what, and how it works; written before its first start, and then the server's own.

Two users: one who may do everything, one who may only look. Their passwords are made here and stand in files that only their
owner may read; the server keeps hashes. Anonymous callers may do nothing, and every change needs a crumb.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from kubernaut.errors import SettingInvalid
from kubernaut_local.certificates import write_private
from support.hudson.parts import HUDSON_VERSION

ADMIN, READER = "ci", "reader"
_PERMISSIONS = (
    f"hudson.model.Hudson.Administer:{ADMIN}",
    f"hudson.model.Hudson.Read:{READER}",
    f"hudson.model.Item.Read:{READER}",
)
_DECLARATION = "<?xml version='1.0' encoding='UTF-8'?>\n"


@dataclass(frozen=True)
class User:
    """Somebody who may log in.

    Attributes:
        name: The user's name.
        token_file: The file with the password, alone in it; mode 0600. Hudson has no API tokens.
    """

    name: str
    token_file: Path

    def password(self) -> str:
        """Read the password."""
        return self.token_file.read_text(encoding="ascii")


@dataclass(frozen=True)
class HudsonHome:
    """A folder for one server; it may be given to another server when the first has ended.

    Attributes:
        folder: All of it lies here.
        executors: How many builds run at once.
        quiet_seconds: How long a build waits at least before it starts; the server's own default would be 5.
    """

    folder: Path
    executors: int = 2
    quiet_seconds: int = 0

    @property
    def root(self) -> Path:
        """What the server knows as HUDSON_HOME."""
        return self.folder / "home"

    @property
    def log(self) -> Path:
        """What the server says, with a line for every request."""
        return self.folder / "server.log"

    @property
    def run(self) -> Path:
        """Where the server unpacks itself."""
        return self.folder / "run"

    @property
    def tmp(self) -> Path:
        """Where the server keeps the scripts of the builds that run."""
        return self.folder / "tmp"

    @property
    def admin(self) -> User:
        """Who may do everything."""
        return User(ADMIN, self.folder / f"{ADMIN}.password")

    @property
    def reader(self) -> User:
        """Who may look at jobs and builds, and change nothing."""
        return User(READER, self.folder / f"{READER}.password")

    def job(self, name: str) -> Path:
        """Return the folder of a job, by its name alone. Raises: SettingInvalid."""
        if name in ("", ".", "..") or "/" in name:
            raise SettingInvalid(f"{name!r} is not the name of a job.")
        return self.root / "jobs" / name

    def remove_job(self, name: str) -> None:
        """Remove a job's folder by hand: a configuration that the server refused would else keep it from starting again."""
        shutil.rmtree(self.job(name), ignore_errors=True)

    def prepare(self, url: str) -> None:
        """Write what the server reads when it starts; what it has written itself since then stays.

        Args:
            url: Where it is, with a slash at its end; without it builds would not know their own page.
        """
        for folder in (self.folder, self.root, self.run, self.tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mailer = ElementTree.Element("hudson.tasks.Mailer_-DescriptorImpl")
        ElementTree.SubElement(mailer, "hudsonUrl").text = url
        _write(self.root / "hudson.tasks.Mailer.xml", mailer)
        if not (self.root / "hudson-security.xml").exists():
            _write(self.root / "config.xml", self._config())
            for user in (self.admin, self.reader):
                _write(self.root / "users" / user.name / "config.xml", _account(user))
            _write(self.root / "hudson-security.xml", _security())

    def _config(self) -> ElementTree.Element:
        root = ElementTree.Element("hudson")
        for name, text in (
            ("version", HUDSON_VERSION),
            ("numExecutors", str(self.executors)),
            ("mode", "NORMAL"),
            ("quietPeriod", str(self.quiet_seconds)),
        ):
            ElementTree.SubElement(root, name).text = text
        ElementTree.SubElement(root, "crumbIssuer", {"class": "hudson.security.csrf.DefaultCrumbIssuer"})
        return root


def _security() -> ElementTree.Element:
    root = ElementTree.Element("hudsonSecurityManager")
    realm = ElementTree.SubElement(root, "securityRealm", {"class": "hudson.security.HudsonPrivateSecurityRealm"})
    ElementTree.SubElement(realm, "disableSignup").text = "true"
    strategy = ElementTree.SubElement(root, "authorizationStrategy", {"class": "hudson.security.GlobalMatrixAuthorizationStrategy"})
    for permission in _PERMISSIONS:
        ElementTree.SubElement(strategy, "permission").text = permission
    ElementTree.SubElement(root, "useSecurity").text = "true"
    # No port for agents: it would be open to the whole network.
    ElementTree.SubElement(root, "slaveAgentPort").text = "-1"
    return root


def _account(user: User) -> ElementTree.Element:
    """Make up a password, and return the account that knows its hash."""
    password, salt = secrets.token_urlsafe(24), secrets.token_hex(6)
    write_private(user.token_file, password)
    root = ElementTree.Element("user")
    ElementTree.SubElement(root, "fullName").text = user.name
    properties = ElementTree.SubElement(root, "properties")
    details = ElementTree.SubElement(properties, "hudson.security.HudsonPrivateSecurityRealm_-Details")
    digest = hashlib.sha256(f"{password}{{{salt}}}".encode()).hexdigest()
    ElementTree.SubElement(details, "passwordHash").text = f"{salt}:{digest}"
    return root


def _write(path: Path, root: ElementTree.Element) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, _DECLARATION + ElementTree.tostring(root, encoding="unicode"))

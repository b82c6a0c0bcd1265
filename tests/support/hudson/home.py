"""The server's home folder: its configuration and users, written before the first start.

It has an administrator and a read-only user. Their passwords are generated here and stored in files of mode 0600; the server keeps
hashes. Anonymous callers have no rights, and every change requires a crumb.
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
from support.hudson.install import HUDSON_VERSION

ADMIN, READER = "ci", "reader"
_PERMISSIONS = (
    f"hudson.model.Hudson.Administer:{ADMIN}",
    f"hudson.model.Hudson.Read:{READER}",
    f"hudson.model.Item.Read:{READER}",
)
_DECLARATION = "<?xml version='1.0' encoding='UTF-8'?>\n"


@dataclass(frozen=True)
class User:
    """A user of the server.

    Attributes:
        name: The user's name.
        token_file: The file with the password only; mode 0600. Hudson has no API tokens.
    """

    name: str
    token_file: Path

    def password(self) -> str:
        """Read the password."""
        return self.token_file.read_text(encoding="ascii")


@dataclass(frozen=True)
class HudsonHome:
    """The folder of one server; another server may use it after the first has ended.

    Attributes:
        folder: The folder.
        executors: The number of builds that run at the same time.
        quiet_seconds: The minimum wait before a build starts; the server's default is 5.
    """

    folder: Path
    executors: int = 2
    quiet_seconds: int = 0

    @property
    def root(self) -> Path:
        """The server's HUDSON_HOME."""
        return self.folder / "home"

    @property
    def log(self) -> Path:
        """The server's log, with a line for every request."""
        return self.folder / "server.log"

    @property
    def run(self) -> Path:
        """The folder in which the server unpacks its war."""
        return self.folder / "run"

    @property
    def tmp(self) -> Path:
        """The folder for the scripts of running builds."""
        return self.folder / "tmp"

    @property
    def admin(self) -> User:
        """The administrator."""
        return User(ADMIN, self.folder / f"{ADMIN}.password")

    @property
    def reader(self) -> User:
        """The user who can read jobs and builds and change nothing."""
        return User(READER, self.folder / f"{READER}.password")

    def job(self, name: str) -> Path:
        """Return the folder of a job. Raises: SettingInvalid: The name is not that of a job."""
        if name in ("", ".", "..") or "/" in name:
            raise SettingInvalid(f"{name!r} is not a valid job name.")
        return self.root / "jobs" / name

    def remove_job(self, name: str) -> None:
        """Remove a job's folder while the server is stopped; the server does not start with a configuration that it cannot read."""
        shutil.rmtree(self.job(name), ignore_errors=True)

    def prepare(self, url: str) -> None:
        """Write the configuration that the server reads at its start; files that the server has written are kept.

        Args:
            url: The server's address with a trailing slash, from which builds derive BUILD_URL.
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
    # Disable the port for agents, which would listen on all addresses.
    ElementTree.SubElement(root, "slaveAgentPort").text = "-1"
    return root


def _account(user: User) -> ElementTree.Element:
    """Generate and store a password; return the account with its hash."""
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

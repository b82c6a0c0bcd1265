"""The token files: created privately, and read strictly."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.messages import facts
from support.programs import program

from kubernaut.adapters import secret_files
from kubernaut.errors import SettingInvalid
from kubernaut.server.auth.access import Caller, Role, token_digest
from kubernaut.server.auth.tokens import ADMIN, generated_token, named_tokens

CANARY = "kanarie-0123456789-abcdefghijklmnopqrstuvwxyz"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def token_in(path: Path) -> str:
    return path.read_text().removeprefix("Authorization: Bearer ").rstrip("\n")


def header_file(tmp_path: Path, content: str = f"Authorization: Bearer {CANARY}\n", permissions: int = 0o600) -> Path:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(permissions)
    return path


def tokens_file(tmp_path: Path, content: str, permissions: int = 0o600) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(content)
    path.chmod(permissions)
    return path


def refusal(read: Callable[[Path], object], path: Path) -> SettingInvalid:
    """Return why a file is refused; the message never quotes the file."""
    with pytest.raises(SettingInvalid) as refused:
        read(path)
    chain: BaseException | None = refused.value
    while chain is not None:
        assert CANARY not in f"{chain!r} {getattr(chain, 'hint', '')} {getattr(chain, 'details', '')}"
        chain = chain.__cause__
    return refused.value


class TestGeneratedToken:
    def test_token_is_generated_once_and_private(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "kubernaut" / "token"
        before = os.umask(0)
        try:
            token = generated_token(path)
        finally:
            os.umask(before)
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)
        assert token.caller == Caller(ADMIN, Role.DEPLOY)
        assert token.digest == hashlib.sha256(token_in(path).encode()).digest()
        assert len(token_in(path)) >= 43
        assert generated_token(path) == token
        assert list(path.parent.iterdir()) == [path], "nothing is left beside it"

    def test_two_files_have_different_tokens(self, tmp_path: Path) -> None:
        assert generated_token(tmp_path / "one") != generated_token(tmp_path / "other")

    def test_servers_that_start_at_once_share_one_token(self, tmp_path: Path) -> None:
        path = tmp_path / "kubernaut" / "token"
        with ThreadPoolExecutor(8) as pool:
            tokens = set(pool.map(lambda _: generated_token(path), range(32)))
        assert len(tokens) == 1
        assert list(path.parent.iterdir()) == [path]

    def test_curl_reads_the_file_without_the_token_as_argument(self, tmp_path: Path) -> None:
        seen: list[str | None] = []

        class Server(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.headers["Authorization"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        path = tmp_path / "token"
        token = generated_token(path)
        with HTTPServer(("127.0.0.1", 0), Server) as server:
            thread = Thread(target=server.handle_request)
            thread.start()
            command = [program("curl"), "-sS", "--noproxy", "*", "-H", f"@{path}", f"http://127.0.0.1:{server.server_port}/"]
            subprocess.run(command, check=True, timeout=10)
            thread.join()
        assert seen == [f"Bearer {token_in(path)}"]
        assert token_digest(token_in(path)) == token.digest
        assert token_in(path) not in " ".join(command)

    @pytest.mark.parametrize("permissions", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777])
    def test_a_file_with_open_permissions_is_refused_with_chmod(self, tmp_path: Path, permissions: int) -> None:
        path = header_file(tmp_path, permissions=permissions)
        error = refusal(generated_token, path)
        assert error.hint == f"chmod 600 {path}"
        assert f"{permissions:04o}" in error.message

    @pytest.mark.parametrize("permissions", [0o600, 0o400, 0o700])
    def test_a_private_file_is_accepted(self, tmp_path: Path, permissions: int) -> None:
        assert generated_token(header_file(tmp_path, permissions=permissions)).digest == token_digest(CANARY)

    def test_a_symbolic_link_is_refused_and_its_target_not_created(self, tmp_path: Path) -> None:
        there, missing, link = header_file(tmp_path), tmp_path / "missing", tmp_path / "link"
        for target in (there, missing):
            link.symlink_to(target)
            assert str(link) in refusal(generated_token, link).message
            link.unlink()
        assert not missing.exists()

    def test_pipes_and_folders_are_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe", 0o600)
        (tmp_path / "folder").mkdir(mode=0o700)
        for path in (tmp_path / "pipe", tmp_path / "folder"):
            assert str(path) in refusal(generated_token, path).message

    def test_a_file_of_another_user_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = header_file(tmp_path)
        owner, group = path.stat().st_uid, path.stat().st_gid
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        monkeypatch.setattr(os, "getegid", lambda: group + 1)
        monkeypatch.setattr(os, "getgroups", lambda: [group + 2])
        error = refusal(generated_token, path)
        assert str(path) in error.message
        assert "0600" in error.hint

    def test_a_folder_writable_by_others_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "open"
        folder.mkdir()
        folder.chmod(0o777)
        assert refusal(generated_token, folder / "token").hint == f"chmod 700 {folder}"
        assert list(folder.iterdir()) == []

    def test_an_unwritable_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        refusal(generated_token, tmp_path / "file" / "token")

    @pytest.mark.parametrize(
        "content",
        [
            "",
            CANARY,
            f"Authorization: Basic {CANARY}\n",
            "Authorization: Bearer short-kanarie\n",
            f"Authorization: Bearer {CANARY} {CANARY}\n",
            f"Authorization: Bearer {CANARY}\nX-Other: {CANARY}\n",
            f"Authorization: Bearer {CANARY * 20}\n",
            f"Authorization: Bearer {CANARY}\n" + " " * 5000,
            f"Authorization: Bearer ü{CANARY}\n",
            f"Authorization: Bearer \udcff{CANARY}\n",
        ],
    )
    def test_a_file_with_other_content_is_refused_and_unchanged(self, tmp_path: Path, content: str) -> None:
        path = header_file(tmp_path)
        path.write_bytes(content.encode(errors="surrogateescape"))
        refusal(generated_token, path)
        assert path.read_bytes() == content.encode(errors="surrogateescape")

    def test_an_interrupted_write_leaves_no_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_descriptor: int) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(os, "fsync", full)
        assert os.strerror(28) in refusal(generated_token, tmp_path / "token").message
        assert list(tmp_path.iterdir()) == []


class TestNamedTokens:
    def test_each_name_has_its_role_and_namespaces(self, tmp_path: Path) -> None:
        hashed = hashlib.sha256(b"another-token-of-more-than-32-characters").hexdigest()
        path = tokens_file(
            tmp_path,
            f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "deploy"\nnamespaces = ["demo", "shop"]\n'
            f'[tokens."ada@example.com"]\nsha256 = "{hashed}"\nrole = "read"\n',
        )
        first, second = named_tokens(path)
        assert first.caller == Caller("ci", Role.DEPLOY, frozenset(("demo", "shop")))
        assert first.digest == token_digest(CANARY)
        assert second.caller == Caller("ada@example.com", Role.READ, None)
        assert second.digest == token_digest("another-token-of-more-than-32-characters")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", ()),
            ("tokens = 3\n", ()),
            ("[tokens]\n", ()),
            (f'password = "{CANARY}"\n', ("[tokens.NAME]",)),
            (f'[tokens.ci]\ntoken = "{CANARY}\n', ("TOML", "line 2")),
            (f"{CANARY} = = 3\n", ("TOML", "line 1")),
            ("[tokens.ci]\nx = " + "[" * 5000, ("TOML",)),
            (f'[tokens]\nci = "{CANARY}"\n', ("tokens.ci", "table")),
            ('[tokens.ci]\nrole = "read"\n', ("tokens.ci", "sha256", "token")),
            (f'[tokens.ci]\ntoken = "{CANARY}"\nsha256 = "{"a" * 64}"\nrole = "read"\n', ("tokens.ci", "sha256", "token")),
            (f'[tokens.ci]\ntoken = "{CANARY}"\n', ("tokens.ci.role", '"read"', '"deploy"')),
            (f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "{CANARY}"\n', ("tokens.ci.role", '"read"', '"deploy"')),
            (f'[tokens.ci]\ntoken = "{CANARY}"\nrole = ["read"]\n', ("tokens.ci.role", '"read"', '"deploy"')),
            ('[tokens.ci]\ntoken = "short"\nrole = "read"\n', ("tokens.ci.token", "32", "512")),
            (f'[tokens.ci]\ntoken = "{CANARY} "\nrole = "read"\n', ("tokens.ci.token", "32", "512")),
            ('[tokens.ci]\ntoken = 123456\nrole = "read"\n', ("tokens.ci.token", "32", "512")),
            (f'[tokens.ci]\nsha256 = "{CANARY}"\nrole = "read"\n', ("tokens.ci.sha256", "64")),
            (
                f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "read"\n"{CANARY}" = 1\n',
                ("tokens.ci", "sha256", "token", "role", "namespaces"),
            ),
            (f'[tokens.ci]\ntoken = "{CANARY}"\nrolle = "read"\n', ("tokens.ci.rolle", "role")),
            (f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "read"\nnamespaces = "demo"\n', ("tokens.ci.namespaces",)),
            (f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "read"\nnamespaces = []\n', ("tokens.ci.namespaces",)),
            (
                f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "read"\nnamespaces = ["demo", "{CANARY}!"]\n',
                ("tokens.ci.namespaces[1]",),
            ),
            (f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "read"\nnamespaces = [7]\n', ("tokens.ci.namespaces[0]",)),
            (f'[tokens."a b"]\ntoken = "{CANARY}"\nrole = "read"\n', ("63", "`@`")),
            (f'[tokens."a\\nb"]\ntoken = "{CANARY}"\nrole = "read"\n', ("63", "`@`")),
            (
                f'[tokens.a]\ntoken = "{CANARY}"\nrole = "read"\n'
                f'[tokens.b]\nsha256 = "{hashlib.sha256(CANARY.encode()).hexdigest()}"\nrole = "deploy"\n',
                ("a and b",),
            ),
            ("#" * (300 << 10), (f"{256 << 10}",)),
        ],
    )
    def test_invalid_entries_are_named_by_key_without_values(self, tmp_path: Path, content: str, words: tuple[str, ...]) -> None:
        file = tokens_file(tmp_path, content)
        assert re.search(facts(str(file), *words), refusal(named_tokens, file).message)

    def test_a_named_tokens_file_with_open_permissions_is_refused(self, tmp_path: Path) -> None:
        path = tokens_file(tmp_path, f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "read"\n', permissions=0o644)
        assert refusal(named_tokens, path).hint == f"chmod 600 {path}"

    def test_a_missing_file_is_not_created(self, tmp_path: Path) -> None:
        refusal(named_tokens, tmp_path / "tokens.toml")
        assert list(tmp_path.iterdir()) == []

    def test_a_secret_mounted_by_kubernetes_is_accepted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The name is a link, the file is root's, and the pod's group may read it."""
        if os.geteuid() != 0:
            pytest.skip("needs root, to make a file of root's")
        (tmp_path / "..data").mkdir()
        real = tokens_file(tmp_path / "..data", f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "read"\n', permissions=0o440)
        (tmp_path / "tokens.toml").symlink_to("..data/tokens.toml")
        os.chown(real, 0, 4711)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(os, "getgroups", lambda: [4711])
        assert named_tokens(tmp_path / "tokens.toml")[0].caller.name == "ci"
        real.chmod(0o444)
        refusal(named_tokens, tmp_path / "tokens.toml")
        real.chmod(0o440)
        monkeypatch.setattr(os, "getgroups", lambda: [4712])
        refusal(named_tokens, tmp_path / "tokens.toml")


def test_create_does_not_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert secret_files.create(path, "first", "file")
    assert not secret_files.create(path, "second", "file")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "server.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    jenkins, dashboard = named_tokens(tokens_file(tmp_path, example))
    assert jenkins.caller == Caller("jenkins", Role.DEPLOY, frozenset(("demo", "staging")))
    assert dashboard.caller == Caller("dashboard", Role.READ)

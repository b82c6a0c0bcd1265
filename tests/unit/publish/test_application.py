from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.source_tree import SourceTree, write

from kubernaut.errors import ApplicationInvalid, DockerfileInvalid
from kubernaut.publish.application import Application, check_dockerfile, load_application

FULL = """\
name: shop
image:
  context: .
  dockerfile: Dockerfile
  target: final
  args: {NODE: "22"}
chart: ../../charts/web
pin: {repository: a.b, digest: a.c, tag: null}
environments: {production: values/production.yaml}
probe: {path: /healthz, port: 80}
onFailure: keep
tagPrefix: shop-v
"""


def refuse(tree: SourceTree, text: str) -> ApplicationInvalid:
    write(tree.app / "kubernaut.yaml", text)
    with pytest.raises(ApplicationInvalid) as caught:
        load_application(tree.app)
    assert "Traceback" not in str(caught.value)
    return caught.value


def test_every_key_is_read(tree: SourceTree) -> None:
    write(tree.app / "kubernaut.yaml", FULL)
    application = load_application(tree.app)
    assert application.image.args == {"NODE": "22"}
    assert application.image.target == "final"
    assert application.pin.tag is None
    assert application.probe is not None
    assert (application.probe.path, application.probe.port) == ("/healthz", 80)
    assert application.on_failure == "keep"
    assert application.tag_prefix == "shop-v"
    assert application.chart_path == tree.chart
    assert application.environment_paths == {"production": tree.app / "values" / "production.yaml"}


def test_the_defaults_are_those_of_an_ordinary_folder(tree: SourceTree) -> None:
    application = load_application(tree.app)
    assert application.image.context == "."
    assert application.pin.repository == "image.repository"
    assert application.on_failure == "rollback"
    assert application.tag_prefix == "v"
    assert application.probe is None


def test_the_json_omits_the_folder(tree: SourceTree) -> None:
    dumped = load_application(tree.app).model_dump(mode="json", by_alias=True)
    assert "directory" not in dumped
    assert dumped["onFailure"] == "rollback"


def test_an_application_is_frozen(tree: SourceTree) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_application(tree.app).name = "other"  # type: ignore[misc]


def test_a_relative_folder_is_resolved(tree: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.app)
    assert load_application(Path()).directory == tree.app
    write(tree.app / "kubernaut.yaml", "name: shop\n\nchrat: x\n")
    with pytest.raises(ApplicationInvalid, match=r"^kubernaut.yaml:1: .*chart.*1 more"):
        load_application(Path())


@pytest.mark.parametrize(
    ("text", "line", "facts"),
    [
        ("name: shop\nchart: ../../charts/web\n\nchrat: x\n", 4, "'chrat' 'chart'"),
        ("name: shop\nchart: ../../charts/web\non_failure: keep\n", 3, "'on_failure' 'onFailure'"),
        (
            "name: shop\nchart: ../../charts/web\nimage:\n  dokerfile: x\n",
            4,
            "'dokerfile' image 'dockerfile'",
        ),
        ("name: shop\nchart: ../../charts/web\ndirectory: /etc\n", 3, "'directory'"),
        ("name: shop\nchart: ../../charts/web\nzzz: 1\n", 3, "'zzz' name, onFailure"),
        ("chart: ../../charts/web\n", 1, "'name'"),
        ("name: shop\n", 1, "'chart'"),
        ("name: 7\nchart: ../../charts/web\n", 1, "name: int 7 quote"),
        ("name: shop\nchart: ../../charts/web\nimage:\n  args:\n    NODE: 22\n", 5, "image.args.NODE: 22"),
        ("name: shop\nchart: [a]\n", 2, "chart: list"),
        ("name: shop\nchart: ../../charts/web\nonFailure: maybe\n", 3, "onFailure: 'rollback' 'keep'"),
        ("name: shop\nchart: ../../charts/web\nprobe: {port: 70000}\n", 3, "probe.port: 70000"),
        ("name: shop\nchart: ../../charts/web\nprobe: {path: healthz}\n", 3, "probe.path: 'healthz'"),
        ("name: shop\nchart: ../../charts/web\nprobe: {port: a_b}\n", 3, "probe.port: 'a_b'"),
        (
            "name: shop\nchart: ../../charts/web\npin:\n  digest: a..b\n",
            4,
            "pin.digest: 'a..b'",
        ),
        ("name: shop\nchart: ../../charts/web\ntagPrefix: '-v'\n", 3, "tagPrefix: '-v'"),
        ("name: shop\nchart: ../../charts/web\nenvironments:\n  Prod: a.yaml\n", 4, "'Prod' namespace"),
        ("name: shop\nchart: ../../charts/web\nname: other\n", 3, "'name'"),
        ("name: shop\nchart: ../../charts/web\n{}: 1\n", 3, "key text"),
        ("name: shop\nchart: ../../charts/web\n? [a]\n: 1\n", 3, "key text"),
        ("name: [shop\nchart: x\n", 2, "YAML"),
        ("name: shop\n\tchart: x\n", 2, "YAML"),
        ("name: shop\n---\nname: two\n", 2, "YAML"),
        ("name: !!python/object:os.system x\nchart: ../../charts/web\n", 1, "YAML"),
        ("- a\n", 1, "mapping name chart list"),
        ("", 1, "mapping name chart nothing"),
        ("name: shop\x07\n", 1, "character YAML"),
        ("name: shop\nchart: /etc\n", 2, "chart: /etc outside"),
        ("name: shop\nchart: ../../../../etc\n", 2, "chart: ../../../../etc outside"),
        ("name: shop\nchart: ../../charts/none\n", 2, "chart: ../../charts/none Chart.yaml"),
        ("name: shop\nchart: ../../charts/web\nimage: {context: /}\n", 3, "image.context: / outside"),
        ("name: shop\nchart: ../../charts/web\nimage: {context: none}\n", 3, "image.context: none folder"),
        ("name: shop\nchart: ../../charts/web\nenvironments: {a: none.yaml}\n", 3, "environments.a: none.yaml file"),
        ("name: shop\nchart: ../../charts/web\nenvironments: {a: /etc/passwd}\n", 3, "environments.a: /etc/passwd outside"),
    ],
)
def test_an_invalid_file_is_reported_with_its_line(tree: SourceTree, text: str, line: int, facts: str) -> None:
    error = refuse(tree, text)
    assert error.message.startswith(f"{tree.app}/kubernaut.yaml:{line}: ")
    assert all(fact in error.message for fact in facts.split()), error.message
    assert error.hint


@pytest.mark.parametrize("name", ["--x", "A", "a" * 54, "..", "a/../b", "hello\\n", "a.b", "-a", "é"])
def test_a_name_that_helm_or_kubernetes_rejects_is_invalid(tree: SourceTree, name: str) -> None:
    error = refuse(tree, f'name: "{name}"\nchart: ../../charts/web\n')
    assert "kubernaut.yaml:1: name: " in error.message


def test_all_problems_are_reported_together(tree: SourceTree) -> None:
    error = refuse(tree, "nmae: shop\nchart: ../../charts/web\nprobe:\n  port: 0\n")
    assert "2 more" in error.message
    assert [line.split(":")[1] for line in error.details] == ["1", "1", "4"]


def test_a_missing_file_is_reported_with_its_absolute_folder(tree: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.chart)
    for folder, named in (
        (tree.chart, tree.chart),
        (tree.root / "none", tree.root / "none"),
        (Path(), tree.chart),
        (Path(".."), tree.chart.parent),
    ):
        with pytest.raises(ApplicationInvalid) as caught:
            load_application(folder)
        assert "kubernaut.yaml" in caught.value.message
        assert str(named) in caught.value.message


def test_text_that_is_not_utf8(tree: SourceTree) -> None:
    (tree.app / "kubernaut.yaml").write_bytes(b"name: shop\nchart: \xff\n")
    with pytest.raises(ApplicationInvalid, match=r"kubernaut\.yaml:2: .*UTF-8"):
        load_application(tree.app)


def test_deep_and_recursive_yaml_ends(tree: SourceTree) -> None:
    assert "32 levels" in refuse(tree, "name: &a [*a]\nchart: x\n").message
    refuse(tree, "name: " + "[" * 400 + "\n")
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 28))
    assert "100000 values" in refuse(tree, bomb).message
    assert "1 MiB" in refuse(tree, "name: shop\n" + "#" * (1 << 20)).message


def test_without_git_the_chart_must_be_inside_the_application(tmp_path: Path) -> None:
    app = tmp_path / "app"
    write(app / "kubernaut.yaml", "name: shop\nchart: chart\n")
    write(app / "chart" / "Chart.yaml", "name: x\n")
    assert load_application(app).chart_path == app / "chart"
    write(tmp_path / "chart" / "Chart.yaml", "name: x\n")
    write(app / "kubernaut.yaml", "name: shop\nchart: ../chart\n")
    with pytest.raises(ApplicationInvalid, match=r"kubernaut\.yaml:2: chart: \.\./chart "):
        load_application(app)


def test_a_chart_linked_from_outside_is_invalid(tree: SourceTree, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "Chart.yaml", "name: x\n")
    (tree.app / "chart").symlink_to(tmp_path / "elsewhere")
    assert "kubernaut.yaml:2: chart: chart " in refuse(tree, "name: shop\nchart: chart\n").message


def application(tree: SourceTree, **image: str) -> Application:
    return load_application(tree.app).model_copy(update={"image": load_application(tree.app).image.model_copy(update=image)})


def test_the_dockerfile_must_exist_inside_the_context(tree: SourceTree, tmp_path: Path) -> None:
    check_dockerfile(application(tree))
    with pytest.raises(DockerfileInvalid, match="Dockerfile None "):
        check_dockerfile(application(tree, dockerfile="None"))
    for outside in ("../Dockerfile", "/etc/hostname", "a/../../Dockerfile"):
        with pytest.raises(DockerfileInvalid, match=re.escape(outside)):
            check_dockerfile(application(tree, dockerfile=outside))
    write(tmp_path / "secret", "FROM scratch\n")
    (tree.app / "linked").symlink_to(tmp_path / "secret")
    with pytest.raises(DockerfileInvalid, match=r"\blinked\b"):
        check_dockerfile(application(tree, dockerfile="linked"))
    (tree.app / "inner").symlink_to("Dockerfile")
    check_dockerfile(application(tree, dockerfile="inner"))
    (tree.app / "folder").mkdir()
    with pytest.raises(DockerfileInvalid, match="Dockerfile folder "):
        check_dockerfile(application(tree, dockerfile="folder"))


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("name: shop\nchart: ../../charts/web\nint: 5\n", ":3: 'int'"),
        ("name: shop\nchart: ../../charts/web\nstr: 5\n", ":3: 'str'"),
        ("name: shop\nchart: ../../charts/web\nenvironments:\n  int: 5\n", ":4: environments.int: int 5"),
        ("name: shop\nchart: ../../charts/web\nprobe: {port: 0}\n", ":3: probe.port: 0"),
        ("name: shop\nchart: !!int many\n", ":2: 'many' int"),
        ("name: shop\nchart: !!bool perhaps\n", ":2: 'perhaps' bool"),
        ("name: " + "[" * 3000, ":1: nested"),
    ],
)
def test_values_that_break_parsers_are_reported_with_their_line(tree: SourceTree, text: str, facts: str) -> None:
    message = refuse(tree, text).message
    assert all(fact in message for fact in facts.split()), message


def test_a_date_is_read_as_text(tree: SourceTree) -> None:
    write(tree.app / "kubernaut.yaml", "name: shop\nchart: ../../charts/web\nimage: {args: {SINCE: 2031-13-45}}\n")
    assert load_application(tree.app).image.args == {"SINCE": "2031-13-45"}

from __future__ import annotations

from pathlib import Path

import pytest
from support.workshop import Workshop, write

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


def refuse(shop: Workshop, text: str) -> ApplicationInvalid:
    write(shop.app / "kubernaut.yaml", text)
    with pytest.raises(ApplicationInvalid) as caught:
        load_application(shop.app)
    assert "Traceback" not in str(caught.value)
    return caught.value


def test_every_key_is_read(shop: Workshop) -> None:
    write(shop.app / "kubernaut.yaml", FULL)
    application = load_application(shop.app)
    assert application.image.args == {"NODE": "22"}
    assert application.image.target == "final"
    assert application.pin.tag is None
    assert application.probe is not None
    assert (application.probe.path, application.probe.port) == ("/healthz", 80)
    assert application.on_failure == "keep"
    assert application.tag_prefix == "shop-v"
    assert application.chart_path == shop.chart
    assert application.environment_paths == {"production": shop.app / "values" / "production.yaml"}


def test_the_defaults_are_those_of_an_ordinary_folder(shop: Workshop) -> None:
    application = load_application(shop.app)
    assert application.image.context == "."
    assert application.pin.repository == "image.repository"
    assert application.on_failure == "rollback"
    assert application.tag_prefix == "v"
    assert application.probe is None


def test_the_folder_is_no_part_of_the_json(shop: Workshop) -> None:
    dumped = load_application(shop.app).model_dump(mode="json", by_alias=True)
    assert "directory" not in dumped
    assert dumped["onFailure"] == "rollback"


def test_an_application_is_frozen(shop: Workshop) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_application(shop.app).name = "other"  # type: ignore[misc]


def test_a_relative_folder_is_resolved(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.app)
    assert load_application(Path()).directory == shop.app
    write(shop.app / "kubernaut.yaml", "name: shop\n\nchrat: x\n")
    with pytest.raises(ApplicationInvalid, match=r"^kubernaut.yaml:1: the key 'chart' is missing \(and 1 more\)"):
        load_application(Path())


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: shop\nchart: ../../charts/web\n\nchrat: x\n", 4, "unknown key 'chrat'; did you mean 'chart'?"),
        ("name: shop\nchart: ../../charts/web\non_failure: keep\n", 3, "unknown key 'on_failure'; did you mean 'onFailure'?"),
        (
            "name: shop\nchart: ../../charts/web\nimage:\n  dokerfile: x\n",
            4,
            "'dokerfile' in image; did you mean 'dockerfile'?",
        ),
        ("name: shop\nchart: ../../charts/web\ndirectory: /etc\n", 3, "unknown key 'directory'"),
        ("name: shop\nchart: ../../charts/web\nzzz: 1\n", 3, "unknown key 'zzz'; known are name,"),
        ("chart: ../../charts/web\n", 1, "the key 'name' is missing"),
        ("name: shop\n", 1, "the key 'chart' is missing"),
        ("name: 7\nchart: ../../charts/web\n", 1, "name: text is expected, not the int 7; quote it"),
        ("name: shop\nchart: ../../charts/web\nimage:\n  args:\n    NODE: 22\n", 5, "image.args.NODE: text is expected"),
        ("name: shop\nchart: [a]\n", 2, "chart: text is expected, not a list"),
        ("name: shop\nchart: ../../charts/web\nonFailure: maybe\n", 3, "onFailure: input should be 'rollback' or 'keep'"),
        ("name: shop\nchart: ../../charts/web\nprobe: {port: 70000}\n", 3, "70000 is not a port"),
        ("name: shop\nchart: ../../charts/web\nprobe: {path: healthz}\n", 3, "'healthz' is not an absolute URL path"),
        ("name: shop\nchart: ../../charts/web\nprobe: {port: a_b}\n", 3, "neither a port's number nor the name of one"),
        (
            "name: shop\nchart: ../../charts/web\npin:\n  digest: a..b\n",
            4,
            "pin.digest: 'a..b' is not a path into",
        ),
        ("name: shop\nchart: ../../charts/web\ntagPrefix: '-v'\n", 3, "tagPrefix: '-v' is not the beginning of a git tag"),
        ("name: shop\nchart: ../../charts/web\nenvironments:\n  Prod: a.yaml\n", 4, "'Prod' cannot be a namespace"),
        ("name: shop\nchart: ../../charts/web\nname: other\n", 3, "the key 'name' stands here a second time"),
        ("name: shop\nchart: ../../charts/web\n{}: 1\n", 3, "a key must be text"),
        ("name: shop\nchart: ../../charts/web\n? [a]\n: 1\n", 3, "a key must be text"),
        ("name: [shop\nchart: x\n", 2, "not YAML"),
        ("name: shop\n\tchart: x\n", 2, "not YAML"),
        ("name: shop\n---\nname: two\n", 2, "not YAML"),
        ("name: !!python/object:os.system x\nchart: ../../charts/web\n", 1, "not YAML"),
        ("- a\n", 1, "a mapping with the keys name and chart is expected, not a list"),
        ("", 1, "not nothing"),
        ("name: shop\x07\n", 1, "a character that YAML does not allow"),
        ("name: shop\nchart: /etc\n", 2, "chart: /etc lies outside the git work tree and the application's folder"),
        ("name: shop\nchart: ../../../../etc\n", 2, "lies outside"),
        ("name: shop\nchart: ../../charts/none\n", 2, "chart: ../../charts/none is not a folder with a Chart.yaml"),
        ("name: shop\nchart: ../../charts/web\nimage: {context: /}\n", 3, "image.context: / lies outside"),
        ("name: shop\nchart: ../../charts/web\nimage: {context: none}\n", 3, "image.context: none is not a folder"),
        ("name: shop\nchart: ../../charts/web\nenvironments: {a: none.yaml}\n", 3, "environments.a: none.yaml is not a file"),
        ("name: shop\nchart: ../../charts/web\nenvironments: {a: /etc/passwd}\n", 3, "environments.a: /etc/passwd lies outside"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(shop: Workshop, text: str, line: int, message: str) -> None:
    error = refuse(shop, text)
    assert error.message.startswith(f"{shop.app}/kubernaut.yaml:{line}: ")
    assert message in error.message
    assert error.hint


@pytest.mark.parametrize("name", ["--x", "A", "a" * 54, "..", "a/../b", "hello\\n", "a.b", "-a", "é"])
def test_names_that_helm_or_kubernetes_would_refuse(shop: Workshop, name: str) -> None:
    error = refuse(shop, f'name: "{name}"\nchart: ../../charts/web\n')
    assert "cannot be a name" in error.message
    assert "RFC 1123" not in error.message or "kubernaut.yaml:1:" in error.message


def test_all_faults_are_told_at_once(shop: Workshop) -> None:
    error = refuse(shop, "nmae: shop\nchart: ../../charts/web\nprobe:\n  port: 0\n")
    assert "(and 2 more)" in error.message
    assert [line.split(":")[1] for line in error.details] == ["1", "1", "4"]


def test_a_missing_file_and_a_missing_folder(shop: Workshop) -> None:
    with pytest.raises(ApplicationInvalid, match=r"There is no kubernaut\.yaml in .*charts"):
        load_application(shop.chart)
    with pytest.raises(ApplicationInvalid, match=r"There is no kubernaut\.yaml"):
        load_application(shop.tree / "none")


def test_text_that_is_not_utf8(shop: Workshop) -> None:
    (shop.app / "kubernaut.yaml").write_bytes(b"name: shop\nchart: \xff\n")
    with pytest.raises(ApplicationInvalid, match=r"kubernaut\.yaml:2: the text is not UTF-8"):
        load_application(shop.app)


def test_deep_and_recursive_yaml_ends(shop: Workshop) -> None:
    assert "levels deep" in refuse(shop, "name: &a [*a]\nchart: x\n").message
    refuse(shop, "name: " + "[" * 400 + "\n")
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 28))
    assert "more than 100000 values" in refuse(shop, bomb).message
    assert "larger than 1 MiB" in refuse(shop, "name: shop\n" + "#" * (1 << 20)).message


def test_without_git_the_chart_lies_in_the_application(tmp_path: Path) -> None:
    app = tmp_path / "app"
    write(app / "kubernaut.yaml", "name: shop\nchart: chart\n")
    write(app / "chart" / "Chart.yaml", "name: x\n")
    assert load_application(app).chart_path == app / "chart"
    write(tmp_path / "chart" / "Chart.yaml", "name: x\n")
    write(app / "kubernaut.yaml", "name: shop\nchart: ../chart\n")
    with pytest.raises(ApplicationInvalid, match="lies outside"):
        load_application(app)


def test_a_link_does_not_lead_out(shop: Workshop, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "Chart.yaml", "name: x\n")
    (shop.app / "chart").symlink_to(tmp_path / "elsewhere")
    assert "lies outside" in refuse(shop, "name: shop\nchart: chart\n").message


def application(shop: Workshop, **image: str) -> Application:
    return load_application(shop.app).model_copy(update={"image": load_application(shop.app).image.model_copy(update=image)})


def test_the_dockerfile_must_be_there_and_inside_the_context(shop: Workshop, tmp_path: Path) -> None:
    check_dockerfile(application(shop))
    with pytest.raises(DockerfileInvalid, match="There is no Dockerfile None"):
        check_dockerfile(application(shop, dockerfile="None"))
    for outside in ("../Dockerfile", "/etc/hostname", "a/../../Dockerfile"):
        with pytest.raises(DockerfileInvalid, match="lies outside the build context"):
            check_dockerfile(application(shop, dockerfile=outside))
    write(tmp_path / "secret", "FROM scratch\n")
    (shop.app / "linked").symlink_to(tmp_path / "secret")
    with pytest.raises(DockerfileInvalid, match="lies outside"):
        check_dockerfile(application(shop, dockerfile="linked"))
    (shop.app / "inner").symlink_to("Dockerfile")
    check_dockerfile(application(shop, dockerfile="inner"))
    (shop.app / "folder").mkdir()
    with pytest.raises(DockerfileInvalid, match="There is no"):
        check_dockerfile(application(shop, dockerfile="folder"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: shop\nchart: ../../charts/web\nint: 5\n", ":3: unknown key 'int'"),
        ("name: shop\nchart: ../../charts/web\nstr: 5\n", ":3: unknown key 'str'"),
        ("name: shop\nchart: ../../charts/web\nenvironments:\n  int: 5\n", ":4: environments.int: text is expected, not the int 5"),
        ("name: shop\nchart: ../../charts/web\nprobe: {port: 0}\n", ":3: probe.port: 0 is not a port"),
        ("name: shop\nchart: !!int many\n", ":2: 'many' is no int"),
        ("name: shop\nchart: !!bool perhaps\n", ":2: 'perhaps' is no bool"),
        ("name: " + "[" * 3000, ":1: nested too deeply"),
    ],
)
def test_values_that_a_parser_stumbles_over(shop: Workshop, text: str, words: str) -> None:
    assert words in str(refuse(shop, text))


def test_a_date_is_a_text(shop: Workshop) -> None:
    write(shop.app / "kubernaut.yaml", "name: shop\nchart: ../../charts/web\nimage: {args: {SINCE: 2031-13-45}}\n")
    assert load_application(shop.app).image.args == {"SINCE": "2031-13-45"}

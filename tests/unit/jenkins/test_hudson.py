"""A config.xml of Hudson or Jenkins, read into one layout.

The files in ``hudson/`` came from a Hudson 3.3.2: a job as it was created, after an update, after the server's own save; with an
administrator's additions, after the server's own save, after an update of that, and after the server's own save again.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kubernaut.errors import JobInvalid
from kubernaut.jenkins.config_xml import difference, read, write

HUDSON = Path(__file__).parent / "hudson"
ADDITIONS = ["edited", "edited-saved", "edited-updated", "edited-updated-saved"]


def of(name: str) -> ET.Element:
    return read((HUDSON / f"{name}.xml").read_text(encoding="utf-8"))


def texts(root: ET.Element, path: str) -> list[str]:
    return [(element.text or "").strip() for element in root.findall(path)]


@pytest.mark.parametrize("name", ["created", "posted", "saved", *ADDITIONS])
def test_layouts_are_read_alike(name: str) -> None:
    root = of(name)
    assert root.find("project-properties") is None
    definitions = root.find("properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions")
    assert definitions is not None
    assert [child.findtext("name") for child in definitions][:3] == ["NAMESPACE", "GIT_COMMIT", "OP_ID"]
    assert sum("kubernaut publish" in text for text in texts(root, "builders/hudson.tasks.Shell/command")) == 1
    assert texts(root, "publishers/hudson.tasks.ArtifactArchiver/artifacts")[0].startswith("release.json")
    assert texts(root, "logRotator/numToKeep") == ["100"]
    assert texts(root, "concurrentBuild") == ["false"]


@pytest.mark.parametrize("name", ADDITIONS)
def test_additions_of_an_administrator_are_read(name: str) -> None:
    root = of(name)
    assert texts(root, "description")[0].startswith("Ask Ada 😀 before")
    before, _, after = texts(root, "builders/hudson.tasks.Shell/command")
    assert before.replace("\r", "") == 'echo before\necho "]]> & <x>" 😀'
    assert after == "echo after"
    assert texts(root, "triggers/hudson.triggers.TimerTrigger/spec") == ["0 3 * * *"]
    assert texts(root, "publishers/hudson.tasks.Mailer/recipients") == ["ada@example.com"]
    assert texts(root, "publishers/hudson.tasks.Fingerprinter/targets") == ["*.json"]
    path = "properties/*/parameterDefinitions/hudson.model.BooleanParameterDefinition/name"
    assert texts(root, path) == ["VERBOSE"]
    assert texts(root, "quietPeriod") == ["7"]
    assert texts(root, "customWorkspace") == ["/srv/shop"]
    assert texts(root, "assignedNode") == ["master"]
    assert texts(root, "canRoam") == ["false"]
    assert texts(root, "blockBuildWhenUpstreamBuilding") == ["true"]


@pytest.mark.parametrize("name", ["created", "posted", "saved", *ADDITIONS])
def test_written_configuration_is_read_unchanged(name: str) -> None:
    root = of(name)
    for hudson in (False, True):
        again = read(write(root, hudson=hudson))
        assert difference(root, again) == ""
        for path in (".//command", "description", ".//artifacts", ".//defaultValue"):
            assert [element.text or "" for element in again.findall(path)] == [element.text or "" for element in root.findall(path)]


def test_entry_wins_over_a_stale_copy() -> None:
    root = read(
        """<project><project-properties class="concurrent-hash-map">
        <entry><string>concurrentBuild</string><boolean-property><originalValue class="boolean">true</originalValue>
        </boolean-property></entry></project-properties><concurrentBuild>false</concurrentBuild></project>"""
    )
    assert texts(root, "concurrentBuild") == ["true"]


def test_unknown_entries_stay() -> None:
    text = """<project><project-properties class="concurrent-hash-map">
        <entry><string>org-example-Special</string><external-property><originalValue class="org.example.Special"><a>1</a>
        </originalValue></external-property></entry>
        <entry><string>nothing</string><string-property/></entry></project-properties></project>"""
    root = read(write(read(text), hudson=True))
    assert texts(root, "project-properties/entry/string") == ["org-example-Special", "nothing"]
    assert texts(root, "project-properties/entry/external-property/originalValue/a") == ["1"]


def test_references_are_resolved() -> None:
    root = read(
        """<project><properties><p.Special><list><x reference="../../../../kept/x[2]"/><x reference="../../nowhere"/>
        <x reference="../[weird]"/><x reference="../../../../../.."/></list></p.Special></properties>
        <kept><x>1</x><x><y>2</y></x></kept></project>"""
    )
    found = root.findall("properties/p.Special/list/x")
    assert [element.findtext("y") for element in found] == ["2", None, None, None]
    assert [element.get("reference") is None for element in found] == [True, False, False, False]


def test_xml_1_1_and_surrogate_references_are_read() -> None:
    root = read("\ufeff<?xml version='1.1' encoding='UTF-8'?>\n<project><description>&#55357;&#56832; é</description></project>")
    assert root.findtext("description") == "😀 é"


def test_carriage_returns_are_kept() -> None:
    root = read("<project><description>a&#13;\nb</description></project>")
    assert root.findtext("description") == "a\r\nb"
    assert read(write(root)).findtext("description") == "a\r\nb"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html><body>Log in<br></body></html>",
        "<project>",
        "<project>&#55357;</project>",
        "<project>&#56832;&#55357;</project>",
        "<project>\x00</project>",
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><project>&b;</project>',
    ],
)
def test_invalid_configuration_is_refused(text: str) -> None:
    with pytest.raises(JobInvalid):
        read(text)


def test_difference_masks_secrets() -> None:
    before = read(
        "<project><a><password>canary-2</password></a><authToken>canary-1</authToken><description>x</description>"
        "<b>{AQAAABAAAAAQcanarycanarycanary==}</b></project>"
    )
    after = read(write(before).replace("<description>x<", "<description>y<"))
    shown = difference(before, after)
    assert "-  <description>x</description>\n+  <description>y</description>" in shown
    assert "<authToken>***</authToken>" in shown
    assert "canary" not in shown
    assert before.findtext("authToken") == "canary-1"


def test_a_difference_is_empty_where_only_the_layout_differs() -> None:
    assert difference(read("<project><a/><b>1</b></project>"), read("<project>\n  <a></a>\n  <b>1</b>\n</project>")) == ""


def test_hudson_is_asked_to_drop_kept_parameters() -> None:
    root = read("<project><description/></project>")
    assert read(write(root, hudson=True)).find("project-properties") is None
    assert '<project-properties class="concurrent-hash-map" />' in write(root, hudson=True)
    assert "project-properties" not in write(root)

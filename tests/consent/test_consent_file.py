"""The private consent file: nobody else reads it, nothing of it shows, nothing damaged is taken."""

from __future__ import annotations

import json
import stat

import pytest

from consent.consent_file import read_consent_file, write_consent_file
from gateway.protocol.claims import Role
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import open_commitment
from tests.federation import BIG_FAMILY


@pytest.fixture
def path(tmp_path, federation):
    path = tmp_path / "consent.json"
    write_consent_file(path, federation.issue(BIG_FAMILY))
    return path


def test_file_is_read_back(tmp_path, federation):
    consent = federation.issue(BIG_FAMILY)
    write_consent_file(tmp_path / "c.json", consent)
    assert read_consent_file(tmp_path / "c.json") == consent
    for grant in consent.grants:
        for role, subject in grant.subjects.items():
            open_commitment(grant.claims.commitments[role], subject, grant.salts[role])


def test_co_residents_grant_opens_no_child(federation):
    guardians, own = federation.issue(BIG_FAMILY).grants
    assert set(guardians.salts) == {Role.CHILD, Role.GUARDIAN}
    assert set(own.salts) == {Role.CO_RESIDENT}


def test_file_is_for_its_owner_only(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["consent.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_file_that_others_could_read_is_refused_with_the_remedy(path, mode):
    path.chmod(mode)
    with pytest.raises(Exception, match="chmod 600") as caught:
        read_consent_file(path)
    assert caught.value.reason is Reason.CONFIGURATION_INVALID


def test_missing_file_is_refused(tmp_path, refused):
    with refused(Reason.CONFIGURATION_INVALID):
        read_consent_file(tmp_path / "none.json")


def test_repr_shows_nobody(path, federation):
    text = repr(read_consent_file(path))
    for subject in BIG_FAMILY.values():
        assert subject.id_number not in text
        assert subject.name not in text
    assert federation.issue().grants[0].token not in text


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value.update(format="heyan-consent/2"),
        lambda value: value.update(extra=1),
        lambda value: value.update(grants=[]),
        lambda value: value["grants"][0]["salts"].pop("child"),
        lambda value: value["grants"][0]["salts"].update(child="AAAA"),
        lambda value: value["grants"][0].update(disclosures=value["grants"][1]["disclosures"]),
        lambda value: value["grants"][0].update(grant="x"),
        lambda value: value["grants"][0]["subjects"]["child"].update(id_type="passport"),
        lambda value: value["grants"][0].update(evidence="="),
    ],
)
def test_damaged_file_is_refused(path, edit, refused):
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))
    with refused(Reason.MESSAGE_MALFORMED):
        read_consent_file(path)

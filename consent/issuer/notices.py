"""What a person reads before approving: the text in both languages, its version, and the digest that a grant keeps.

The text says who asks, for what, what may be asked and where, how often, until when, that only yes or no comes back,
and how to withdraw (个人信息保护法 art. 15, 17, 23, 29). It names no person: its digest stands in the grant, and a
digest of a text with a name in it could be found by trying. Whoever shows it shows the child's name beside it.

A change of wording is a new version; an old version is kept as long as grants of it live.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from consent.disclosures import Detail
from consent.grant import Notice
from gateway.protocol.beijing import BEIJING
from gateway.protocol.claims import claim_named
from gateway.protocol.codec import b64url
from gateway.protocol.divisions import COUNTIES, PREFECTURES
from gateway.protocol.errors import MalformedError
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.reasons import Text
from gateway.protocol.registry_terms import LocalName

NOTICE_ID = "heyan-consent"
VERSION = "1"
CHINESE, ENGLISH = "zh-CN", "en"
LANGUAGES = (CHINESE, ENGLISH)

_PURPOSES = {PURPOSE_ENROLMENT: Text("办理义务教育入学报名", "enrolment in compulsory education")}


@dataclass(frozen=True, slots=True)
class ShownNotice:
    """A notice with its text, as the person sees it."""

    notice: Notice
    text: str


def render(lang: str, *, requester: LocalName, purpose: str, details: Iterable[Detail], expires: int) -> ShownNotice:
    """The notice for one draft; MalformedError for a language that there is no text in."""
    if lang not in LANGUAGES:
        raise MalformedError.at("lang", "must be one of " + ", ".join(LANGUAGES))
    text = (_chinese if lang == CHINESE else _english)(requester, purpose, tuple(details), expires)
    digest = b64url(sha256(text.encode()).digest())
    return ShownNotice(Notice(NOTICE_ID, VERSION, lang, digest), text)


def _chinese(requester: LocalName, purpose: str, details: tuple[Detail, ...], expires: int) -> str:
    why = _PURPOSES.get(purpose, Text(purpose, purpose)).zh
    until = datetime.fromtimestamp(expires, BEIJING).strftime("%Y年%m月%d日 %H:%M（北京时间）")
    lines = [
        f"{requester.zh}请您同意就“{why}”向有关部门核验以下事项。",
        "部门只回答“是”“否”或“无法在线判断”，不提供任何具体信息。",
    ]
    for detail in details:
        where = "、".join(_region_name(region) for region in detail.regions)
        lines.append(f"可在{where}核验，最多 {detail.max_uses} 次：")
        lines += [f"· {claim_named(name).text.zh}" for name in detail.claims]
    lines += [
        "您的证件号码和姓名以加密方式直接送达有关部门，中间网关无法读取。",
        f"本同意有效期至 {until}。您可以不同意，改为现场提交材料；也可以随时撤回，撤回不影响此前已完成的核验。",
    ]
    return "\n".join(lines) + "\n"


def _english(requester: LocalName, purpose: str, details: tuple[Detail, ...], expires: int) -> str:
    why = _PURPOSES.get(purpose, Text(purpose, purpose)).en
    until = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"{requester.en} asks you to allow the following to be checked with the departments, for {why}.",
        "A department answers yes, no, or cannot tell online, and gives no other information.",
    ]
    for detail in details:
        where = ", ".join(_region_name(region) for region in detail.regions)
        lines.append(f"In {where}, at most {detail.max_uses} times:")
        lines += [f"- {claim_named(name).text.en}" for name in detail.claims]
    lines += [
        "Identity numbers and names go encrypted to the departments; the gateway between cannot read them.",
        f"This consent lasts until {until}. You may refuse, and hand in papers instead.",
        "You may withdraw it at any time; what was checked before stays valid.",
    ]
    return "\n".join(lines) + "\n"


def _region_name(region: str) -> str:
    """The name and code of a county, a prefecture or Hunan; of other regions the code alone."""
    name = COUNTIES.get(region) or PREFECTURES.get(region) or ("湖南省" if region == "43" else "")
    return f"{name}（{region}）" if name else region

"""What each check of an identifier asks for, in both languages: one table, keyed by rule.

A violation's description is "English / Chinese", as everywhere in the project: `BadRequest` has one description for a
field, and its own localized text could hold one language only. Texts say what is expected, never what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, unique
from types import MappingProxyType

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason, Text


@unique
class Rule(StrEnum):
    """The rules of all kinds of identifiers."""

    # numbers of 18 characters
    LENGTH_18 = "length_18"
    CHARACTERS_18 = "characters_18"
    BIRTH_DATE = "birth_date"
    BIRTH_FUTURE = "birth_future"
    CHECK_CHARACTER = "check_character"
    IS_RESIDENCE_PERMIT = "is_residence_permit"
    IS_FOREIGN_RESIDENT = "is_foreign_resident"
    RESIDENT_PROVINCE = "resident_province"
    PERMIT_AREA = "permit_area"
    FOREIGN_FORM = "foreign_form"
    FOREIGN_PREFIX = "foreign_prefix"
    FOREIGN_PROVINCE = "foreign_province"
    # parts of a number to make
    AREA = "area"
    PROVINCE = "province"
    NATIONALITY = "nationality"
    SEQUENCE = "sequence"
    # names
    NAME_LENGTH = "name_length"
    NAME_CONTROL = "name_control"
    # organisations
    ORGANISATION_LENGTH = "organisation_length"
    ORGANISATION_ALPHABET = "organisation_alphabet"
    ORGANISATION_AREA = "organisation_area"
    # property
    CERTIFICATE_FORM = "certificate_form"
    CERTIFICATE_LENGTH = "certificate_length"
    CERTIFICATE_PROVINCE = "certificate_province"
    CERTIFICATE_YEAR_EARLY = "certificate_year_early"
    CERTIFICATE_YEAR_FUTURE = "certificate_year_future"
    CERTIFICATE_IS_PROOF = "certificate_is_proof"
    OLDER_CERTIFICATE = "older_certificate"
    OLDER_CERTIFICATE_CONTROL = "older_certificate_control"
    UNIT_LENGTH = "unit_length"
    UNIT_AREA = "unit_area"
    UNIT_PARCEL = "unit_parcel"
    UNIT_FIXTURE = "unit_fixture"


TEXTS: Mapping[Rule, Text] = MappingProxyType(
    {
        Rule.LENGTH_18: Text("应为 18 位", "must be 18 characters"),
        Rule.CHARACTERS_18: Text(
            "前 17 位应为数字，末位应为数字或 X",
            "must be 17 digits, then a digit or X",
        ),
        Rule.BIRTH_DATE: Text(
            "第 7 至 14 位应为真实存在的出生日期",
            "characters 7 to 14 must be a date that exists (YYYYMMDD)",
        ),
        Rule.BIRTH_FUTURE: Text(
            "第 7 至 14 位出生日期不应晚于今天",
            "characters 7 to 14 must not be a date in the future",
        ),
        Rule.CHECK_CHARACTER: Text(
            "末位校验码与前 17 位不符，请逐位核对",
            "the check character (the last) does not fit the other 17",
        ),
        Rule.IS_RESIDENCE_PERMIT: Text(
            "81、82、83 开头的号码属于港澳台居民居住证，不是居民身份证",
            "areas 81, 82 and 83 belong to the residence permit of Hong Kong, Macao and Taiwan residents",
        ),
        Rule.IS_FOREIGN_RESIDENT: Text(
            "9 开头的号码属于外国人永久居留身份证，不是居民身份证",
            "numbers that begin with 9 belong to the foreign permanent resident's identity card",
        ),
        Rule.RESIDENT_PROVINCE: Text(
            "第 1、2 位应为省级行政区划代码",
            "characters 1 and 2 must be the code of a province (GB/T 2260)",
        ),
        Rule.PERMIT_AREA: Text(
            "港澳台居民居住证号码应以 810000、820000 或 830000 开头",
            "a residence permit of Hong Kong, Macao and Taiwan residents begins with 810000, 820000 or 830000",
        ),
        Rule.FOREIGN_FORM: Text(
            "应为以 9 开头的 18 位号码，或旧版的 3 位字母加 12 位数字",
            "must be 18 characters that begin with 9, or in the older form 3 letters and 12 digits",
        ),
        Rule.FOREIGN_PREFIX: Text(
            "外国人永久居留身份证号码（2023 版）应以 9 开头",
            "a foreign permanent resident's number (form of 2023) begins with 9",
        ),
        Rule.FOREIGN_PROVINCE: Text(
            "第 2、3 位应为省级行政区划代码",
            "characters 2 and 3 must be the code of a province (GB/T 2260)",
        ),
        Rule.AREA: Text("应为 6 位数字", "must be six digits"),
        Rule.PROVINCE: Text("应为 2 位省级行政区划代码", "must be the two digits of a province (GB/T 2260)"),
        Rule.NATIONALITY: Text("应为 3 位数字", "must be three digits"),
        Rule.SEQUENCE: Text("应为 1 至 999", "must be from 1 to 999"),
        Rule.NAME_LENGTH: Text("姓名应为 1 至 120 字节", "must be 1 to 120 bytes of UTF-8"),
        Rule.NAME_CONTROL: Text("姓名不应含控制字符", "must hold no control character"),
        Rule.ORGANISATION_LENGTH: Text("统一社会信用代码应为 18 位", "must be 18 characters"),
        Rule.ORGANISATION_ALPHABET: Text(
            "应为数字和大写字母，且不使用 I、O、S、V、Z",
            "must be digits and letters, without I, O, S, V and Z",
        ),
        Rule.ORGANISATION_AREA: Text(
            "第 3 至 8 位应为登记机关的行政区划代码",
            "characters 3 to 8 must be the area of the registering office (GB/T 2260)",
        ),
        Rule.CERTIFICATE_FORM: Text(
            "应如：湘(2024)长沙市不动产权第0000000号",
            "must read like 湘(2024)长沙市不动产权第0000000号",
        ),
        Rule.CERTIFICATE_LENGTH: Text("不动产权证书号过长", "must not be longer than 64 characters"),
        Rule.CERTIFICATE_PROVINCE: Text("首字应为省级行政区简称", "must begin with the short name of a province"),
        Rule.CERTIFICATE_YEAR_EARLY: Text(
            "年份不应早于 2015 年（统一登记开始）；更早的房权证请按旧证填写",
            "the year must not be before 2015, when unified registration began; enter older certificates as such",
        ),
        Rule.CERTIFICATE_YEAR_FUTURE: Text("年份不应晚于今年", "the year must not be in the future"),
        Rule.CERTIFICATE_IS_PROOF: Text(
            "这是不动产登记证明号，请填写不动产权证书号（“不动产权第…号”）",
            "this is the number of a registration proof (不动产证明); enter that of the certificate (不动产权第…号)",
        ),
        Rule.OLDER_CERTIFICATE: Text("旧版房权证号应为 1 至 64 个字符", "must be 1 to 64 characters"),
        Rule.OLDER_CERTIFICATE_CONTROL: Text("不应含控制字符", "must hold no control character"),
        Rule.UNIT_LENGTH: Text("不动产单元号应为 28 位", "must be 28 characters"),
        Rule.UNIT_AREA: Text(
            "第 1 至 6 位应为行政区划代码",
            "characters 1 to 6 must be the code of an area (GB/T 2260)",
        ),
        Rule.UNIT_PARCEL: Text(
            "第 7 至 19 位应为 6 位数字、G/J/Z、1 位字母和 5 位数字",
            "characters 7 to 19 must be six digits, one of G, J and Z, a letter and five digits",
        ),
        Rule.UNIT_FIXTURE: Text(
            "第 20 至 28 位应为 F/L/Q/W 和 8 位数字",
            "characters 20 to 28 must be one of F, L, Q and W and eight digits",
        ),
    }
)
"""What each rule asks for; a test holds the table complete."""


def violation(rule: Rule, field: str) -> MalformedError:
    """The error (IDENTIFIER_MALFORMED) of `rule`, located at `field`."""
    text = TEXTS[rule]
    return MalformedError.at(field, f"{text.en} / {text.zh}", Reason.IDENTIFIER_MALFORMED)

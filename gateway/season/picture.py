"""The chart as PNG, drawn with Pillow (the extra `season`) and the font that it brings."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.season.chart import Box, Chart

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont


def png_of(chart: Chart) -> bytes:
    """The PNG of `chart`; MalformedError (CONFIGURATION_INVALID) where Pillow is not installed."""
    try:
        from PIL import Image, ImageDraw  # noqa: PLC0415 - optional: nothing else needs it
    except ImportError:
        raise MalformedError.at(
            "--png",
            "needs Pillow: pip install 'heyan[season]'; --html needs nothing / "
            "需要安装 Pillow：pip install 'heyan[season]'；--html 无需安装",
            Reason.CONFIGURATION_INVALID,
        ) from None
    image = Image.new("RGB", (chart.width, chart.height))
    pen = ImageDraw.Draw(image)
    for shape in chart.shapes:
        if isinstance(shape, Box):
            pen.rectangle((shape.x, shape.y, shape.x + shape.width - 1, shape.y + shape.height - 1), fill=shape.fill)
        else:
            anchor = "mm" if shape.centred else "la"
            pen.text((shape.x, shape.y), shape.text, fill=shape.fill, font=_font(shape.size), anchor=anchor)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


@cache
def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont  # noqa: PLC0415 - as above

    return ImageFont.load_default(size)

"""Figures as SVG: they follow the page's light or dark mode and have a label for screen readers."""

from __future__ import annotations

import colorsys
import html
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEX = re.compile(r"#[0-9a-f]{6}\b")
_ID = re.compile(r'\sid="([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|xlink:href="#|href="#)([^)"]+)')
_TAG = re.compile(r"<[^>]*>")
_FRACTION = re.compile(r"-?\d+\.\d{3,}(?=[\s\"),;])")
_LIGHTEST, _DARKEST = 0.9, 0.09
"""Lightness of black and of white where the page is dark."""


def to_svg(figure: Figure) -> str:
    """Return a figure without background as SVG, the same text for the same figure.

    The figure keeps the layout that it is given now.
    """
    from matplotlib import rc_context

    written = io.StringIO()
    with rc_context({"figure.constrained_layout.use": False, "figure.autolayout": False}):
        _lay_out(figure)
        figure.savefig(
            written, format="svg", facecolor="none",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )  # fmt: skip
    # Round coordinates and number ids: both depend on the processor's last digits. Text stays.
    svg = _TAG.sub(lambda tag: _FRACTION.sub(_rounded, tag[0]), written.getvalue())
    names = dict.fromkeys(found[1] for found in _ID.finditer(svg))
    numbers = {name: f"e{number}" for number, name in enumerate(names)}
    svg = _ID.sub(lambda found: f' id="{numbers[found[1]]}"', svg)
    return _REFERENCE.sub(lambda found: found[1] + numbers.get(found[2], found[2]), svg)


def _lay_out(figure: Figure) -> None:
    """Give a figure its layout once; to find it, ``savefig`` would draw each figure twice."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    engine, canvas, dpi = figure.get_layout_engine(), figure.canvas, figure.dpi
    if engine is None:
        return
    figure.dpi = FigureCanvasSVG.fixed_dpi
    FigureCanvasSVG(figure)  # the figure's canvas from now on: texts have an SVG's size
    engine.execute(figure)
    figure.set_canvas(canvas)
    figure.dpi = dpi
    figure.set_layout_engine(None)  # with the settings of to_svg, this is none


def on_white(svg: str) -> str:
    """Return the SVG of a figure on white: the figure's own area, drawn first, is filled."""
    return svg.replace('style="fill: none"', 'style="fill: #ffffff"', 1)


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def to_png(figure: Figure, dpi: int = 200) -> bytes:
    """Return a figure as PNG on white."""
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=dpi, metadata={"Software": None})
    return written.getvalue()


def inline_svg(svg: str, *, prefix: str, label: str, style: str) -> str:
    """Return an SVG as an element of a page.

    Its ids begin with ``prefix``, so that a page may hold several; its text has the page's
    font; its colours are variables that :func:`dark_mode_css` defines for a dark page.
    ``label`` is for screen readers, ``style`` is a CSS class.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    opening = re.match(r"<svg[^>]*>", body)
    assert opening is not None
    box = re.search(r'viewBox="[^"]+"', opening[0])
    assert box is not None
    body = body[opening.end() :]
    # Its style sheet would apply to the whole page, which has the same rule already.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    used = {found[2] for found in _REFERENCE.finditer(body)}
    body = _ID.sub(lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", body)
    body = _REFERENCE.sub(lambda found: f"{found[1]}{prefix}{found[2]}", body)
    body = re.sub(r"font-family: [^;\"]+", "font-family: var(--gcv-font)", body)
    body = _HEX.sub(lambda found: f"var({_variable(found[0])},{found[0]})", body)
    body = re.sub(r"\n\s*", "\n", body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'class="{style}" {box[0]} role="img" aria-label="{html.escape(label)}">{body}'
    )


def dark_mode_css(*inline: str) -> str:
    """Return the colours of inlined figures on a dark page, as CSS declarations."""
    found = sorted({colour for svg in inline for colour in _HEX.findall(svg)})
    return "".join(f"{_variable(colour)}:{_on_dark(colour)};" for colour in found)


def _variable(colour: str) -> str:
    return f"--c{colour[1:]}"


def _on_dark(colour: str) -> str:
    """Return a colour for a dark page: invert greys, lighten others and keep their order."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if max(red, green, blue) - min(red, green, blue) < 0.02:
        lightness = _LIGHTEST - (_LIGHTEST - _DARKEST) * lightness
    else:
        lightness, saturation = 0.45 + 0.42 * lightness, 0.8 * saturation
    parts = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)

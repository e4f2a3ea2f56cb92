"""Colours of a picture, light and dark: steps of heat for shares of time, the hue of each formulation.

They are written as sRGB, which every viewer of SVG knows; OKLCH is what browsers alone have.
"""

from __future__ import annotations

import math
import zlib

from tersely.codes import registry

STEPS = 8
HUES = {row.NAME: row.HUE for row in registry.ROWS}


def srgb(lightness: float, chroma: float, hue: float) -> str:
    """A colour of OKLCH (Björn Ottosson, "A perceptual color space for image processing", 2020) as #rrggbb."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _gamma(min(max(one, 0.0), 1.0))):02x}" for one in linear)


def _gamma(one: float) -> float:
    return 12.92 * one if one <= 0.0031308 else 1.055 * one ** (1 / 2.4) - 0.055


def step(share: float, largest: float) -> int:
    """Which step of heat a share of the time is, beside the largest one."""
    return min(STEPS - 1, int(STEPS * math.sqrt(share / largest))) if share > 0 and largest > 0 else 0


def form_class(formulation: str) -> str:
    """A class name that cannot be anything else, whatever a file calls its formulation."""
    return f"f-{formulation}" if formulation in HUES else f"f-{zlib.crc32(formulation.encode()):08x}"


def _hue(formulation: str) -> tuple[float, float]:
    """Chroma and hue."""
    hue = HUES.get(formulation, zlib.crc32(formulation.encode()) % 360)
    return (0.012, 250) if hue is None else (0.14, hue)


def style(formulations: set[str]) -> str:
    """The rules of a picture's style sheet that are colours, for light viewers and for dark ones."""
    light, dark = [], []
    for number in range(STEPS):
        t = number / (STEPS - 1)
        light.append(f".h{number}{{fill:{srgb(0.985 - 0.21 * t, 0.005 + 0.135 * t, 75 - 45 * t)}}}")
        dark.append(f".h{number}{{fill:{srgb(0.25 + 0.24 * t, 0.005 + 0.125 * t, 75 - 45 * t)}}}")
    for formulation in sorted(formulations):
        chroma, hue = _hue(formulation)
        light.append(f".{form_class(formulation)}{{fill:{srgb(0.55, chroma, hue)}}}")
        dark.append(f".{form_class(formulation)}{{fill:{srgb(0.72, chroma, hue)}}}")
    light.append(
        ".ground{fill:#fff}text{fill:#1b1f27}.faint{fill:#626b7a}.detail{fill:#3f4754}.box{stroke:#c3c9d4}.edge,.far{stroke:#8a93a3}"
    )
    dark.append(
        ".ground{fill:#14161b}text{fill:#e7eaf0}.faint{fill:#98a1b2}.detail{fill:#c6cdd9}.box{stroke:#434a57}.edge,.far{stroke:#6b7484}"
    )
    return "".join(light) + "@media (prefers-color-scheme:dark){" + "".join(dark) + "}"

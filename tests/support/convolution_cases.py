"""What every test of convolutions varies: images, groups, channels, windows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConvolutionCase:
    """channels, outputs: of a group. taps, stride, padding, dilation: of rows and columns."""

    images: int = 1
    groups: int = 1
    channels: int = 16
    outputs: int = 16
    height: int = 8
    width: int = 8
    taps: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    activation: str | None = None
    residual: bool = False

    @property
    def fits(self) -> bool:
        """Whether there is a pixel of a result."""
        lengths = zip((self.height, self.width), self.taps, self.padding, self.dilation, strict=True)
        return all(length + 2 * pad > spread * (tap - 1) for length, tap, pad, spread in lengths)

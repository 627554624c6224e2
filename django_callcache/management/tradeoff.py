"""Loads against stale reads as a drawing: SVG, without any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 640, 400, 56
COLORS = ("#4c6ef5", "#e8590c", "#2b8a3e", "#862e9c", "#c92a2a", "#0b7285")


def drawing(title: str, families: Mapping[str, Sequence[tuple[float, float, str]]]) -> str:
    """An SVG of the trade-off of some policies.

    Args:
        title: Above the drawing.
        families: Name of a policy to its points: stale reads and loads, of 100 reads, and a label.
    """
    most = max([1.0, *(stale for points in families.values() for stale, _, _ in points)])
    parts = [*_frame(title, most)]
    for number, (name, points) in enumerate(families.items()):
        color = COLORS[number % len(COLORS)]
        places = [(_x(stale, most), _y(loads), label) for stale, loads, label in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        for x, y, label in places:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>')
            parts.append(f'<text x="{x + 6:.1f}" y="{y - 5:.1f}" fill="{color}">{escape(label)}</text>')
        top = MARGIN + 4 + 16 * number
        parts.append(
            f'<text x="{WIDTH - MARGIN}" y="{top}" text-anchor="end" fill="{color}">{escape(name)}</text>'
        )
    inner = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="11">\n{inner}\n</svg>\n'
    )


def _frame(title: str, most: float) -> list[str]:
    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    parts = [
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="24" font-size="14">{escape(title)}</text>',
        f'<text x="{right}" y="{HEIGHT - 12}" text-anchor="end">stale reads of 100</text>',
        f'<text x="{MARGIN}" y="{MARGIN - 10}">loads of 100 reads</text>',
        f'<path d="M{MARGIN} {MARGIN}V{bottom}H{right}" fill="none" stroke="#495057"/>',
    ]
    for share in range(5):
        stale, loads = most * share / 4, 25 * share
        x, y = _x(stale, most), _y(loads)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{stale:.3g}</text>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{loads}</text>')
        parts.append(f'<path d="M{MARGIN} {y:.1f}H{right}" stroke="#dee2e6"/>')
    return parts


def _x(stale: float, most: float) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * stale / most


def _y(loads: float) -> float:
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * loads / 100

"""A result as bars: in a PNG file by matplotlib, or in characters on the terminal."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from edgeq.bench import files, summary
from edgeq.bench.cases import Case
from edgeq.errors import UsageError, shown

WIDTH = 40  # characters of the longest bar
COLORS = ("#1b6ca8", "#e07b39", "#4f9d69", "#8d5a97", "#b5a642", "#7f7f7f")


class Bars(NamedTuple):
    """One group: a case of a model with a bar per engine; noisy: too few slots passed the rule."""

    title: str
    case: Case
    labels: list[str]
    figures: list[float]
    noisy: list[bool]


def groups(result: dict[str, Any]) -> list[Bars]:
    out = []
    for model in result["models"]:
        for case, cells in summary.rows(result, model):
            known = [(c, c.middle if c.middle is not None else c.noisy) for c in cells if c.noisy is not None]
            out.append(Bars(
                shown(model["file"], 80), case, [shown(c.label, 40) for c, _ in known],
                [float(f or 0.0) for _, f in known], [c.middle is None for c, _ in known],
            ))  # fmt: skip
    return [bars for bars in out if bars.labels]


def terminal(result: dict[str, Any]) -> str:
    """Each case with bars from zero, the longest as wide as WIDTH."""
    lines: list[str] = []
    title = ""
    for bars in groups(result):
        if bars.title != title:
            title = bars.title
            lines += ["", title]
        better = "more" if bars.case.more_is_better else "less"
        lines.append(f"{bars.case.name}, {bars.case.unit} ({better} is better)")
        room, most = max(map(len, bars.labels)), max(bars.figures)
        for label, figure, noisy in zip(bars.labels, bars.figures, bars.noisy):
            mark = "~" if noisy else ""
            lines.append(f"  {label:{room}} {bar(figure / most):{WIDTH}} {mark}{bars.case.written(figure)}")
    return "\n".join(lines).lstrip("\n")


def bar(share: float) -> str:
    """A bar of eighths of a character."""
    eighths = round(8 * WIDTH * min(1.0, max(0.0, share)))
    part = " ▏▎▍▌▋▊▉"[eighths % 8]
    return "█" * (eighths // 8) + (part if part != " " else "")


def png(result: dict[str, Any], path: str) -> None:
    """Raises UsageError where matplotlib is not installed, GGUFError where the file cannot be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "--plot FILE.png needs matplotlib: pip install 'edgeq[bench]'; --plot - draws on the terminal"
        ) from None
    found = groups(result)
    if not found:
        raise UsageError("--plot: there is no figure to draw")
    names = list(dict.fromkeys(label for bars in found for label in bars.labels))
    columns = min(4, len(found))
    lines = -(-len(found) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * lines + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    for i, bars in enumerate(found):
        axes = figure.add_subplot(lines, columns, i + 1)
        colors = [COLORS[names.index(label) % len(COLORS)] for label in bars.labels]
        drawn = axes.bar(bars.labels, bars.figures, color=colors)
        axes.bar_label(drawn, [("~" if n else "") + bars.case.written(f) for f, n in zip(bars.figures, bars.noisy)])
        axes.set_title(f"{bars.title}\n{bars.case.name}", fontsize=8)
        axes.set_ylabel(f"{bars.case.unit}, {'more' if bars.case.more_is_better else 'less'} is better", fontsize=7)
        axes.tick_params(labelsize=7)
        axes.margins(y=0.15)
    drawing = io.BytesIO()
    figure.savefig(drawing, dpi=150, format="png")
    files.write(path, drawing.getvalue())

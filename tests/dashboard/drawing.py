"""Panels and what Prometheus answered for them -> one page in HTML, laid out by their gridPos, as Grafana would.

It draws the types of panels that the dashboard has (row, stat, timeseries, table) and refuses any other.
It asks nobody and knows nothing of what is drawn.
"""

import html
import math
import time

from units import words

WIDTH, CELL, GAP = 1320, 32, 8
COLORS = ["#56A64B", "#E0B400", "#3274D9", "#FF780A", "#E02F44", "#8F3BB8", "#1F9E9E", "#B877D9", "#C4162A", "#37872D",
          "#7A5C00", "#1F60C4"]
STEPS = {"green": "#37872D", "orange": "#E55400", "red": "#C4162A"}
STYLE = """
body { margin: 0; background: #f4f5f5; font: 12px Inter, "DejaVu Sans", sans-serif; color: #24292e; }
.panel { position: absolute; box-sizing: border-box; background: #fff; border: 1px solid #e0e2e4; border-radius: 3px;
  padding: 6px 8px; overflow: hidden; }
.title { font-weight: 600; height: 20px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.row { position: absolute; font-size: 15px; font-weight: 600; line-height: 30px; }
.legend { color: #464c54; line-height: 15px; overflow: hidden; }
.legend span { margin-right: 10px; white-space: nowrap; }
.legend i { display: inline-block; width: 12px; height: 4px; border-radius: 2px; margin: 0 4px 2px 0; }
.stats { display: flex; flex-wrap: wrap; gap: 4px 18px; align-items: center; justify-content: space-evenly; height: calc(100% - 24px); }
.stat { text-align: center; } .stat b { display: block; font-size: 24px; font-weight: 500; }
.none { color: #a0a4a8; text-align: center; padding-top: 60px; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 3px 6px; border-bottom: 1px solid #eceeef; }
td { font-size: 11px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; max-width: 260px; } text { font-size: 10px; fill: #6b7075; }
"""


class Unknown(Exception):
    """A type of panel that this cannot draw."""


def page(dashboard, answers, start, end):
    """The whole page and its height. `answers` has, for each panel's id, a list of (legend, labels, points) for each query."""
    parts, height = [], 0
    column = (WIDTH - GAP) / 24
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        left, top = GAP + grid["x"] * column, GAP + grid["y"] * CELL
        wide, high = grid["w"] * column - GAP, grid["h"] * CELL - GAP
        height = max(height, top + high + GAP)
        place = f"left:{left:.0f}px;top:{top:.0f}px;width:{wide:.0f}px;height:{high:.0f}px"
        if panel["type"] == "row":
            parts.append(f'<div class="row" style="{place}">{html.escape(panel["title"])}</div>')
            continue
        body = inside(panel, answers[panel["id"]], wide - 18, high - 38, start, end)
        title = html.escape(panel["title"])
        parts.append(f'<div class="panel" style="{place}"><div class="title">{title}</div>{body}</div>')
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(dashboard["title"])}</title><style>{STYLE}</style>'
    return head + "".join(parts), math.ceil(height)


def inside(panel, series, wide, high, start, end):
    if not series:
        return '<div class="none">No data</div>'
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] == "stat":
        return stat(series, defaults, panel["options"]["textMode"])
    if panel["type"] == "table":
        return table(panel, series)
    if panel["type"] == "timeseries":
        return lines(series, defaults, wide, high, start, end)
    raise Unknown(f"a panel of the type `{panel['type']}`: teach tests/dashboard/drawing.py to draw it")


def last(points):
    """The last number of a series, which a stat shows."""
    return next((value for _, value in reversed(points) if value is not None), None)


def stat(series, defaults, mode):
    steps = defaults["thresholds"]["steps"]
    parts = []
    for legend, _, points in series:
        value = last(points)
        passed = [step for step in steps if step["value"] is None or (value is not None and value >= step["value"])]
        color = STEPS[passed[-1]["color"]]
        shown = html.escape(legend) if mode == "name" else words(value, defaults["unit"])
        # Grafana leaves the name out where there is one series alone.
        name = html.escape(legend) if mode == "auto" and len(series) > 1 else ""
        parts.append(f'<div class="stat">{name}<b style="color:{color}">{shown}</b></div>')
    return f'<div class="stats">{"".join(parts)}</div>'


def table(panel, series):
    organize = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    columns = ["Time", *sorted({key for _, labels, _ in series for key in labels}), "Value"]
    columns = [column for column in columns if not organize["excludeByName"].get(column)]
    rows = []
    for _, labels, points in series:
        at, value = points[-1]
        whole = {**labels, "Time": time.strftime("%H:%M:%S", time.gmtime(at)), "Value": words(value, "short")}
        rows.append("".join(f"<td>{html.escape(whole.get(column, ''))}</td>" for column in columns))
    names = [organize["renameByName"].get(column, column) for column in columns]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


# Steps that are round as times, from a second on.
TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800, 1209600, 2419200]


def ticks(low, high, unit):
    """Round numbers from below the lowest to above the highest."""
    if low == high:
        low, high = low - (1 if low else 0), high + 1
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    if unit == "s" and 1 <= rough <= TIMES[-1]:
        step = next(time for time in TIMES if time >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    count = math.ceil(high / step - 1e-9) - first
    return [(first + n) * step for n in range(count + 1)], step


def lines(series, defaults, wide, high, start, end):
    values = [value for _, _, points in series for _, value in points if value is not None]
    if not values:
        return '<div class="none">No data</div>'
    low = min(values + ([defaults["min"]] if "min" in defaults else []))
    marks, step = ticks(low, max(values), defaults["unit"])
    legend = "".join(
        f'<span><i style="background:{COLORS[n % len(COLORS)]}"></i>{html.escape(name)}</span>'
        for n, (name, _, _) in enumerate(series)
    )
    # As many rows as its words take, at most half of the panel.
    rows = max(1, math.ceil(sum(len(name) * 6.4 + 30 for name, _, _ in series) / wide))
    below = min(rows * 15, int(high / 2))
    tall, margin = high - below - 22, 66
    x = lambda at: margin + (at - start) / (end - start) * (wide - margin - 4)  # noqa: E731
    y = lambda value: 6 + (marks[-1] - value) / (marks[-1] - marks[0]) * (tall - 8)  # noqa: E731
    drawn = []
    for mark in marks:
        drawn.append(f'<path d="M{margin} {y(mark):.1f}H{wide}" stroke="#eceeef"/>')
        text = words(mark, defaults["unit"], step)
        drawn.append(f'<text x="{margin - 6}" y="{y(mark) + 3:.1f}" text-anchor="end">{text}</text>')
    count = max(2, int((wide - margin) / 80))
    for n in range(1, count):
        at = start + (end - start) * n / count
        clock = time.strftime("%H:%M:%S", time.gmtime(at))
        drawn.append(f'<text x="{x(at):.1f}" y="{tall + 14}" text-anchor="middle">{clock}</text>')
    for n, (_, _, points) in enumerate(series):
        path, pen = [], "M"
        for at, value in points:
            if value is None:
                pen = "M"
                continue
            path.append(f"{pen}{x(at):.1f} {y(value):.1f}")
            pen = "L"
        drawn.append(f'<path d="{"".join(path)}" fill="none" stroke="{COLORS[n % len(COLORS)]}" stroke-width="1.4"/>')
    picture = f'<svg width="{wide:.0f}" height="{tall + 20:.0f}">{"".join(drawn)}</svg>'
    return f'{picture}<div class="legend" style="height:{below}px">{legend}</div>'

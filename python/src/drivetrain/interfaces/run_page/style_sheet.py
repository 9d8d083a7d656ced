"""Colours and layout of a run's page: the player's colours, light or dark as the reader's system has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RULES = """
* { box-sizing: border-box; } body { margin: 0 auto; max-width: 1080px; padding: 16px; color: var(--ink);
background: var(--page); font: 14px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
font-variant-numeric: tabular-nums; }
h1 { font-size: 22px; margin: 0; display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; }
h1 small { color: var(--faint); font-weight: 500; }
h2 { font-size: 16px; margin: 0 0 8px; } p { margin: 4px 0 8px; } header p, section > p { color: var(--faint); }
section { background: var(--raised); border: 1px solid var(--rim); border-radius: 10px; padding: 14px 16px;
margin-top: 14px; }
.status { font-size: 13px; font-weight: 600; padding: 2px 10px; border-radius: 12px; border: 1px solid var(--rim); }
.status.completed { background: var(--ego); color: var(--onEgo); border-color: var(--ego); }
.status.failed, .status.lost, .status.stalled { background: var(--event); color: var(--onEvent); }
.note { border-left: 4px solid var(--yellow); padding-left: 10px; color: var(--ink); }
.charts { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); }
.chart { width: 100%; max-width: 640px; } .chart text { font-size: 10.5px; fill: var(--faint); }
.chart .title { font-size: 12.5px; font-weight: 650; fill: var(--ink); }
.chart .grid { stroke: var(--rim); stroke-width: 0.6; opacity: 0.7; }
.chart path.level { stroke: var(--faint); stroke-dasharray: 5 4; } .chart text.level { font-size: 9.5px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; } td, th { padding: 3px 12px 3px 0; text-align: right;
white-space: nowrap; border-bottom: 1px solid var(--rim); } td:first-child { text-align: left; color: var(--faint); }
th { font-weight: 600; } th:nth-child(2), td:nth-child(2) { font-weight: 650; }
.facts td, .events td, .events th { text-align: left; font-weight: 400; } .events td:last-child, .facts td:last-child {
white-space: normal; overflow-wrap: anywhere; } .events td:nth-child(2) { font-weight: 650; }
tr.bad td { color: var(--eventInk); }
.gallery { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
figure { margin: 0; } img { width: 100%; background: #fff; border-radius: 6px; border: 1px solid var(--rim); }
.bar { display: flex; height: 18px; border-radius: 5px; overflow: hidden; } .legend span { margin-right: 16px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; }
pre { overflow-x: auto; font-size: 12.5px; } summary { cursor: pointer; margin-top: 10px; }
"""


def style_sheet() -> str:
    """Return the rules with both sets of colours."""
    from drivetrain.rendering.style import THEMES

    light, dark = (_variables(THEMES[name]) for name in ("light", "dark"))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{_RULES}"
    )


def _variables(theme: Mapping[str, Any]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in theme.items() if isinstance(value, str))

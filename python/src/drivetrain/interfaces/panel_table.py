"""Several kinds of traffic side by side, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def panel_json(results: Sequence[Any], *, asked: str, per_scenario: bool) -> dict[str, Any]:
    """Return the document of one result, or of several with what they come to together.

    Args:
        results: Of one planner, one per traffic.
        asked: How the traffic was named.
        per_scenario: Also give the values of every scene.
    """
    documents = [result.to_json(per_scenario=per_scenario) for result in results]
    if len(documents) == 1:
        return documents[0]
    partial = any(result.partial for result in results)
    document: dict[str, Any] = {
        "planner": results[0].planner, "traffic": asked, "partial": partial, "results": documents,
    }  # fmt: skip
    if results[0].traffic:  # nothing drives in environments that know no traffic
        from drivetrain.trainer.traffic_panel import panel_of

        document["panel"] = panel_of(results).to_json()
    return document


def print_panel(results: Sequence[Any]) -> None:
    """Print the scores of several kinds of traffic, one per line, with their mean and the worst of them."""
    if len(results) < 2 or not results[0].traffic:
        return
    from drivetrain.interfaces.evaluation_tables import other_rows
    from drivetrain.interfaces.tables import print_table
    from drivetrain.trainer.evaluation_result import ALL_METRICS, cell_text
    from drivetrain.trainer.traffic_panel import panel_of

    drivers = ((result, *other_rows(result)) for result in results)
    columns = [list(column) for column in zip(*drivers, strict=True)]
    panels = [panel_of(column) for column in columns]
    score = panels[0].score
    kind = ALL_METRICS[score]
    rows = [
        (result.traffic, *(cell_text(column[line].metrics[score], kind) for column in columns))
        for line, result in enumerate(results)
    ]
    rows.append(("mean", *(cell_text(panel.mean, kind) for panel in panels)))
    rows.append(("worst", *(cell_text(panel.worst, kind) for panel in panels)))
    names = [max((row.label for row in column), key=len) for column in columns]  # says so if any of them is partial
    print(f"\n{score} by traffic:")
    print_table(("traffic", *names), rows, right=names, label="traffic")

"""Charts of the reports: bars drawn by a template, and charts drawn by Vega-Lite."""

from crmkit.report.render.charts.plain import Bar, Chart, Segment

__all__ = ["Bar", "Chart", "Segment"]

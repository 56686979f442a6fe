"""Pictures: grids of slices, overlay sheets, box plots and training curves; no display needed."""

from __future__ import annotations

from .box_plot import box_plot
from .curve_plot import curve_plot
from .files import write_gif, write_png
from .grids import draw_contours, fill_labels, outline_grid, reconstruction_grid, sample_grid
from .overlay_sheet import informative_slices, overlay_sheet, pick_cases
from .palette import LABEL_COLOURS, label_colour
from .risk_coverage_plot import risk_coverage_plot
from .spread_plot import spread_plot
from .step_sheet import step_sheet

__all__ = [
    "LABEL_COLOURS",
    "box_plot",
    "curve_plot",
    "draw_contours",
    "fill_labels",
    "informative_slices",
    "label_colour",
    "outline_grid",
    "overlay_sheet",
    "pick_cases",
    "reconstruction_grid",
    "risk_coverage_plot",
    "sample_grid",
    "spread_plot",
    "step_sheet",
    "write_gif",
    "write_png",
]

from .assignments import (
    plot_assignments as plot_assignments,
    plot_entropy as plot_entropy,
    plot_partition as plot_partition,
)
from .bias_and_noise import gradients_figure as gradients_figure, plot_gradients as plot_gradients
from .calibration import plot_pit as plot_pit, plot_reliability as plot_reliability
from .candidates import (
    plot_criteria as plot_criteria,
    plot_held_out as plot_held_out,
    selection_figure as selection_figure,
)
from .colours import expert_legend as expert_legend, palette as palette
from .cost import comparison_figure as comparison_figure, plot_comparison as plot_comparison
from .curves import (
    Curves as Curves,
    plot_curves as plot_curves,
    plot_gate as plot_gate,
    plot_gate_map as plot_gate_map,
)
from .frame import (
    add_legend as add_legend,
    new_figure as new_figure,
    to_png as to_png,
    to_svg as to_svg,
)
from .grids import curves_of as curves_of, gate_map_of as gate_map_of
from .history import history_figure as history_figure, plot_history as plot_history
from .partitions import (
    agreement as agreement,
    cluster_order as cluster_order,
    coassignment as coassignment,
    plot_agreement as plot_agreement,
    plot_coassignment as plot_coassignment,
    sampled as sampled,
)
from .rows import (
    Shown as Shown,
    probabilities_of as probabilities_of,
    rows_of as rows_of,
    transforms_of as transforms_of,
    values_of as values_of,
)
from .solutions import plot_modes as plot_modes

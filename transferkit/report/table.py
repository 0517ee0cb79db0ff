"""A report as one row of a table, for the command line and for notebooks."""

from transferkit.evaluate.evaluate import Report
from transferkit.evaluate.metrics import EvalReport
from transferkit.evaluate.multi_label import MultiLabelReport


def table_row(report: Report) -> dict[str, str]:
    """Texts by their heads, which are short enough for a terminal of 80 columns; results.json has the full names."""
    if isinstance(report, MultiLabelReport):
        return _of_several_classes(report)
    return _of_one_class(report)


def _of_one_class(one: EvalReport) -> dict[str, str]:
    return {
        "images": str(one.num_images),
        "accuracy": f"{one.accuracy:.1%}",
        "balanced": f"{one.balanced_accuracy:.1%}",
        "top 5": "" if one.top5_accuracy is None else f"{one.top5_accuracy:.1%}",
        "F1": f"{one.macro_average.f1:.3f}",
        "loss": f"{one.log_loss:.3f}",
        "AUC": "" if one.roc_auc is None else f"{one.roc_auc:.3f}",
        "majority": f"{one.majority_baseline.accuracy:.1%}",
    }


def _of_several_classes(one: MultiLabelReport) -> dict[str, str]:
    return {
        "images": str(one.num_images),
        "mAP": "" if one.mean_average_precision is None else f"{one.mean_average_precision:.3f}",
        "accuracy": f"{one.accuracy:.1%}",
        "F1 micro": f"{one.micro_average.f1:.3f}",
        "F1 macro": f"{one.macro_average.f1:.3f}",
        "Hamming": f"{one.hamming_loss:.3f}",
        "majority": f"{one.majority_baseline.accuracy:.1%}",
    }

"""Linear probes on stacked replicates: least squares, logistic regression, scores, controls."""

from mechflow.probes.controls import chance_accuracy, permute_labels, selectivity
from mechflow.probes.logistic import LogisticFit, fit_logistic
from mechflow.probes.ridge import PENALTIES, Moments, RidgeFit, centred_moments, fit_ridge
from mechflow.probes.scores import linear_probe_scores

__all__ = [
    "PENALTIES",
    "LogisticFit",
    "Moments",
    "RidgeFit",
    "centred_moments",
    "chance_accuracy",
    "fit_logistic",
    "fit_ridge",
    "linear_probe_scores",
    "permute_labels",
    "selectivity",
]

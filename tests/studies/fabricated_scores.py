"""Made-up prompts, folds, scores of probes and answers of the model, of one variant."""

import numpy as np
import pandas as pd

from tests.studies.fabricated_subject import (
    ALL_CONTROLS,
    FOLDS,
    LIMIT,
    SITES,
    WIDTHS,
    Subject,
    rise,
)


class Scores:
    """Draws the tables of one variant; each has a generator of its own."""

    def __init__(self, variant: str, subject: Subject) -> None:
        self.subject = subject
        self.bases = list(subject.bases)
        self.seed = sum(map(ord, variant))
        self.replicates = range(subject.replicates)

    def generator(self, table: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, table])

    def prompts(self) -> pd.DataFrame:
        rows = []
        for number in range(LIMIT):
            if self.subject.label == "sum":
                rows += [(a, number - a, number) for a in range(min(4, number + 1))]
            else:
                rows += [(a, number, number) for a in range(min(4, LIMIT - number))]
        frame = pd.DataFrame(sorted(rows), columns=["a", "b", "label"])
        frame["text"] = [f"{a} + {b}" for a, b in zip(frame["a"], frame["b"], strict=True)]
        frame.insert(0, "example", np.arange(len(frame)))
        return frame

    def folds(self) -> pd.DataFrame:
        frames = []
        for replicate in self.replicates:
            order = np.random.default_rng([0, replicate]).permutation(LIMIT)
            for fold, test in enumerate(np.array_split(order, FOLDS)):
                split = np.full(LIMIT, "train", dtype="<U5")
                split[order[:5] if fold else order[-5:]] = "valid"
                split[test] = "test"
                names = {"replicate": replicate, "fold": fold, "number": np.arange(LIMIT)}
                frames.append(pd.DataFrame({**names, "split": split}))
        return pd.concat(frames, ignore_index=True)

    def strength(self, basis: str) -> float:
        share = {"sinusoidal": 0.6, "digits": 1.0, "binary": 0.3, "linear": 0.1, "log": 0.05}
        return self.subject.best * share.get(basis, 0.45)

    def readout(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        draw = self.generator(1)
        prompts = self.prompts()["label"].value_counts().sort_index().to_numpy()
        folds = self.folds()
        runs = [(basis, "none") for basis in self.bases]
        runs += [(b, c) for b in self.subject.controlled for c in self.subject.controls]
        scores, values = [], []
        for layer, site in enumerate(SITES):
            for (replicate, fold), split in folds.groupby(["replicate", "fold"]):
                test = split.loc[split["split"] == "test", "number"].to_numpy()
                for basis, control in runs:
                    if control != "none" and fold >= self.subject.control_folds:
                        continue
                    best = self.strength(basis) if control == "none" else 0.03
                    chance = np.clip(best * rise(layer) * (1.05 - 0.1 * (test > 49)), 0, 1)
                    right = draw.binomial(prompts[test], chance)
                    if control == "none":
                        size = draw.choice([-20, -10, -1, 1, 10, 30], len(test))
                        values += [
                            (replicate, fold, layer, basis, *row)
                            for row in zip(
                                test, prompts[test], right, size * (1 - right / prompts[test]),
                                strict=True,
                            )
                        ]  # fmt: skip
                    head = (replicate, fold, site, layer, basis, WIDTHS[basis], control)
                    noise = float(draw.uniform(-0.02, 0.02))
                    macro = {
                        "train": min(1.0, best + 0.05),
                        "valid": float(np.clip(best * rise(layer) + noise, 0, 1)),
                        "test": float((right / prompts[test]).mean()),
                    }
                    for name, share in macro.items():
                        micro = right.sum() / prompts[test].sum() if name == "test" else share
                        for metric, value in (
                            ("accuracy", micro), ("accuracy_macro", share),
                            ("loss", 4.6 * (1 - share)), ("median_error", 10 * (1 - share)),
                        ):  # fmt: skip
                            scores.append((*head, name, metric, float(value)))
                    scores.append((*head, "train", "steps", 250.0))
        columns = ["replicate", "fold", "site", "layer", "basis", "width", "control", "split"]
        names = ["replicate", "fold", "layer", "basis", "number", "prompts", "correct"]
        return (
            pd.DataFrame(scores, columns=[*columns, "metric", "value"]),
            pd.DataFrame(values, columns=[*names, "mean_error"]),
        )

    def probes(self) -> pd.DataFrame:
        draw = self.generator(2)
        targets = [("linear", "value"), ("log", "value"), ("log_published", "value")]
        targets += [("digits", target) for target in ("value", "digit.0", "digit.1")]
        rows = []
        for layer, site in enumerate(SITES):
            for replicate in self.replicates:
                for fold in range(FOLDS):
                    for control in ("none", *ALL_CONTROLS):
                        for probe, target in targets:
                            tail = (layer, fold, probe)
                            level = self.strength(probe) * rise(layer)
                            level = {"digit.0": 0.95, "digit.1": level**0.5}.get(target, level)
                            chance = 0.1 if target.startswith("digit") else 0.01
                            level = level if control == "none" else chance
                            for split in ("train", "valid", "test"):
                                share = float(np.clip(level + draw.uniform(-0.02, 0.02), 0, 1))
                                rows += [
                                    (replicate, site, target, control, split, metric, value, *tail)
                                    for metric, value in (
                                        ("accuracy", share), ("accuracy_macro", share * 0.99)
                                    )
                                ]  # fmt: skip
        columns = ["replicate", "site", "target", "control", "split", "metric", "value"]
        return pd.DataFrame(rows, columns=[*columns, "layer", "fold", "probe"])

    def behaviour(self) -> pd.DataFrame:
        columns = ["example", "a", "b", "expected", "answer", "correct", "first_token_correct"]
        asked = self.prompts().iloc[:: len(self.prompts()) // max(1, self.subject.answers) + 1]
        asked = asked if self.subject.answers else asked.iloc[:0]
        expected = asked["a"] + asked["b"]
        right = (np.arange(len(asked)) % 3 > 0).astype("int64")
        found = asked[["example", "a", "b"]].assign(
            expected=expected,
            answer=np.where(right, expected, -1),
            correct=right,
            first_token_correct=1,
        )
        return found[columns].reset_index(drop=True).astype("int64")

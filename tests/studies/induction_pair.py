"""An induction circuit built by hand, whose every score is known, and checkpoints that end in it.

The residual stream has room for the token, the position, the token before, and the answer. Head
L0H0 attends to the position before and writes its token; head L1H0 attends to positions whose
token before is the token here, and writes their token as the answer. L0H1 and L1H1 do nothing.
"""

from functools import cache

import pandas as pd
import torch
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.studies.phase_changes.circuit_scores import matched
from mechflow.studies.phase_changes.config import Data, Induction
from mechflow.studies.phase_changes.dataset import FIELDS
from mechflow.studies.phase_changes.tasks import task_of

D_VOCAB, SEQ_LEN, EXAMPLES = 20, 13, 24
DATA = Data(
    task="induction",
    induction=Induction(seq_len=SEQ_LEN, subseq_len=4, repeats=2, d_vocab=D_VOCAB),
    test_examples=EXAMPLES,
)
TOKEN = slice(0, D_VOCAB)
POSITION = slice(D_VOCAB, D_VOCAB + SEQ_LEN)
BEFORE = slice(POSITION.stop, POSITION.stop + D_VOCAB)
ANSWER = slice(BEFORE.stop, BEFORE.stop + D_VOCAB)
MODEL = Transformer(n_layers=2, n_heads=2, d_model=ANSWER.stop, d_head=D_VOCAB, d_mlp=0)
SHARP = 200.0


@cache
def built_dataset() -> pd.DataFrame:
    """The same test sequences for replicates 4 and 5; every read has one match and no other."""
    drawn = task_of(DATA).generate(400, torch.Generator().manual_seed(0))
    clear = (matched(drawn).sum(-1) == 1).all(-1).nonzero()[:, 0]
    kept = drawn.take(clear[:EXAMPLES])
    assert len(kept) == EXAMPLES
    text = {
        name: [" ".join(map(str, row)) for row in getattr(kept, name).tolist()] for name in FIELDS
    }
    one = pd.DataFrame({"example": range(EXAMPLES), "split": "test", "subset": "all", **text})
    return pd.concat([one.assign(replicate=replicate) for replicate in (4, 5)], ignore_index=True)


def built_weights() -> dict[str, Tensor]:
    """Checkpoints [3, 2, ...]: random, zero with the finished embeddings, and the finished pair."""
    finished = _finished()
    generator = torch.Generator().manual_seed(1)
    random = {
        name: torch.randn(2, *w.shape, generator=generator) / w.shape[-1] ** 0.5
        for name, w in finished.items()
    }
    half = {name: w if "embed" in name else torch.zeros_like(w) for name, w in finished.items()}
    stages = [random, *({n: w.expand(2, *w.shape) for n, w in s.items()} for s in (half, finished))]
    stacked = {name: torch.stack([stage[name] for stage in stages]) for name in finished}
    return {**stacked, "step": torch.tensor([0, 100, 200])}


def _finished() -> dict[str, Tensor]:
    width = MODEL.d_model
    eye, places = torch.eye(D_VOCAB), torch.eye(SEQ_LEN)
    embed, positions = torch.zeros(D_VOCAB, width), torch.zeros(SEQ_LEN, width)
    embed[:, TOKEN], positions[:, POSITION] = eye, places
    maps = {
        f"blocks.{layer}.attn.{name}": torch.zeros(2, width, D_VOCAB)
        for layer in (0, 1)
        for name in ("W_Q", "W_K", "W_V")
    }
    outs = {f"blocks.{layer}.attn.W_O": torch.zeros(2, D_VOCAB, width) for layer in (0, 1)}
    # The query of position t is the key of position t - 1.
    maps["blocks.0.attn.W_Q"][0, POSITION, :SEQ_LEN] = SHARP * places.roll(-1, 1)
    maps["blocks.0.attn.W_Q"][0, POSITION.start] = 0.0
    maps["blocks.0.attn.W_K"][0, POSITION, :SEQ_LEN] = places
    maps["blocks.0.attn.W_V"][0, TOKEN] = eye
    outs["blocks.0.attn.W_O"][0, :, BEFORE] = eye
    maps["blocks.1.attn.W_Q"][0, TOKEN] = SHARP * eye
    maps["blocks.1.attn.W_K"][0, BEFORE] = eye
    maps["blocks.1.attn.W_V"][0, TOKEN] = eye
    outs["blocks.1.attn.W_O"][0, :, ANSWER] = eye
    unembed = torch.zeros(width, D_VOCAB)
    unembed[ANSWER] = 30.0 * eye
    return {
        "embed.W_E": embed,
        "pos_embed.W_pos": positions,
        "unembed.W_U": unembed,
        **maps,
        **outs,
    }

"""QK and OV circuits of attention heads (Elhage et al. 2021, "A Mathematical Framework").

Residual streams are rows. A head scores the query x against the key y as x W_Q W_K^T y^T, and a
source y that it attends to adds y W_V W_O to the stream. Both matrices have rank d_head at most,
so they stay products of two thin factors here: what does not need the large matrix never forms it.
Everything is float64; biases and normalisation are not part of a circuit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mechflow.svd import singular_values


@dataclass(frozen=True)
class Factors:
    """Matrices left @ right; their rank is at most the size of the inner axis."""

    left: Float[Tensor, "*batch m rank"]
    right: Float[Tensor, "*batch rank n"]

    def product(self) -> Float[Tensor, "*batch m n"]:
        """The matrices themselves."""
        return self.left @ self.right

    def transpose(self) -> "Factors":
        """Factors of the transposed matrices."""
        return Factors(self.right.mT, self.left.mT)

    def singular_values(self) -> Float[Tensor, "*batch r"]:
        """The min(m, n, rank) largest singular values, largest first; all others are 0.

        With left = Q R and right^T = Q' R', the orthonormal Q and Q' change no singular value of
        Q (R R'^T) Q'^T.
        """
        return singular_values(triangle(self.left) @ triangle(self.right.mT).mT)

    def frobenius_norm(self) -> Float[Tensor, "*batch"]:
        """Square root of the sum of squares of all entries."""
        return torch.linalg.vector_norm(self.singular_values(), dim=-1)

    def eigenvalues(self) -> Complex[Tensor, "*batch rank"]:
        """Eigenvalues of square matrices, in no particular order; all that are missing are 0.

        They are taken from right @ left, which has those of left @ right but for zeros.

        Raises:
            ValueError: the matrices are not square.
        """
        rows, columns = self.left.shape[-2], self.right.shape[-1]
        if rows != columns:
            raise ValueError(f"a {rows} x {columns} circuit does not map tokens to themselves")
        values: Tensor = torch.linalg.eigvals(self.right @ self.left)
        return values


def triangle(matrix: Float[Tensor, "*batch m k"]) -> Float[Tensor, "*batch r k"]:
    """R of the reduced QR decomposition: the matrix up to orthonormal columns on its left."""
    factor: Tensor = torch.linalg.qr(matrix, mode="r").R
    return factor


def qk_circuit(
    W_Q: Float[Tensor, "*batch head d_model d_head"],
    W_K: Float[Tensor, "*batch head d_model d_head"],
    queries: Float[Tensor, "*batch query d_model"] | None = None,
    keys: Float[Tensor, "*batch key d_model"] | None = None,
    divisor: float = 1.0,
) -> Factors:
    """W_Q W_K^T of each head, or the full circuit: its scores between embeddings.

    Scores are bilinear, so those of a sum of token and positional embeddings are the sum of the
    circuits of the parts: tokens with tokens, tokens with positions, and so on.

    Args:
        W_Q: query maps.
        W_K: key maps.
        queries: embeddings on the query side, W_E or W_pos; the residual stream itself if None.
        keys: embeddings on the key side, likewise.
        divisor: what attention scores are divided by.
    """
    left, right = _embedded(queries, W_Q), _embedded(keys, W_K)
    return Factors(left / divisor, right.mT)


def ov_circuit(
    W_V: Float[Tensor, "*batch head d_model d_head"],
    W_O: Float[Tensor, "*batch head d_head d_model"],
    W_E: Float[Tensor, "*batch source d_model"] | None = None,
    W_U: Float[Tensor, "*batch d_model d_vocab_out"] | None = None,
) -> Factors:
    """W_V W_O of each head, or the full circuit W_E W_V W_O W_U.

    Row s, column t of the full circuit is the logit of t that attention 1 to source s adds.

    Args:
        W_V: value maps.
        W_O: output maps.
        W_E: embeddings of the sources; the residual stream itself if None.
        W_U: unembedding; the residual stream itself if None.
    """
    right = W_O.double()
    return Factors(
        _embedded(W_E, W_V), right if W_U is None else right @ W_U.double().unsqueeze(-3)
    )


def copying_score(full_ov: Factors) -> Float[Tensor, "*batch"]:
    """Sum of the eigenvalues over the sum of their sizes, of a full OV circuit.

    1 if all eigenvalues are positive, so that tokens (in combination) raise their own logits, -1
    if all are negative; 0 for a zero matrix (Elhage et al. 2021, who detect copying this way). The
    imaginary parts of eigenvalues of real matrices cancel in the sum.

    Raises:
        ValueError: sources and outputs are not the same tokens.
    """
    values = full_ov.eigenvalues()
    size = values.abs().sum(dim=-1)
    return torch.where(size > 0, values.real.sum(dim=-1) / size, 0.0)


def _embedded(
    embedding: Float[Tensor, "*batch token d_model"] | None,
    weight: Float[Tensor, "*batch head d_model d_head"],
) -> Float[Tensor, "*batch head token d_head"]:
    """Embeddings as each head's map reads them; the map itself if there are none."""
    return (
        weight.double() if embedding is None else embedding.double().unsqueeze(-3) @ weight.double()
    )

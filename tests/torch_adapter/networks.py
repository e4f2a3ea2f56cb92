"""Real architectures, written out: a vision transformer, a Llama-shaped block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (m(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.q, self.k, self.v))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class VitBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Llama(nn.Module):
    """One block with embeddings and a tied head."""

    def __init__(self, width: int = 128, hidden: int = 320, vocabulary: int = 512) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        h = self.norm1(x)
        q, k, v = (m(h).unflatten(-1, (4, -1)).transpose(1, 2) for m in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.o(a)
        h = self.norm2(x)
        return self.head(x + self.down(F.silu(self.gate(h)) * self.up(h)))


class Experts(nn.Module):
    """A mixture of experts as transformers 5 has it: stacks of weights, rows sorted by expert, grouped multiply."""

    def __init__(self, experts: int = 4, width: int = 64, hidden: int = 96) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.randn(experts, 2 * hidden, width) * 0.05)
        self.down = nn.Parameter(torch.randn(experts, width, hidden) * 0.05)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        gate, up = torch._grouped_mm(x, self.gate_up.transpose(-2, -1), offs=offsets).chunk(2, -1)
        return torch._grouped_mm(F.silu(gate) * up, self.down.transpose(-2, -1), offs=offsets)

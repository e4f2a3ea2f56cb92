// What the kernels of layer norm and softmax see. Tokens are pixels of an image of one row (network/image.hpp): 16
// channels of a token side by side, 16 channels of the next one behind them, the next 16 channels a plane further on.
#pragma once

#include <cstdint>

namespace tersely {

struct TokenNorm {
  const float* x;
  float* y;
  int64_t x_plane, y_plane;  // floats from 16 channels to the next
  int64_t channels;
  const float* weight;  // [channels, up to whole blocks]; null: 1
  const float* bias;    // likewise; null: 0
  float eps;
};

// Scores of queries against keys, keys in the place of channels. probability[key] = exp(score x scale + mask -
// greatest) / sum; zero for all keys where none may be attended to, and zero for padding of the last block.
struct ScoreRows {
  float* scores;
  int64_t plane;
  int64_t keys;
  float scale;
  const float* mask;   // of the first query, key by key; null: none
  int64_t mask_query;  // floats from one query's to the next
  bool boolean;        // where the mask is zero is not attended to; else it is added
  int64_t last_key;    // of the first query, one more for each further one: none beyond it; `keys` or more: no limit
};

struct TokenKernels {
  // (x - mean) / sqrt(variance + eps) x weight + bias of each token.
  void (*norm)(const TokenNorm& norm, int64_t tokens);
  void (*attend)(const ScoreRows& rows, int64_t queries);
  // Of `count` numbers side by side; y may be x.
  void (*softmax)(const float* x, int64_t count, float* y);
};

}  // namespace tersely

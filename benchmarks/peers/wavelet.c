/* A wavelet tree shaped by a Huffman code: a node has a bit for each symbol below it, which says on which side the
   symbol is. The bits of all nodes are one vector; a count of ones before every 512 bits is what ranks and selects go
   by. */
#include <stdint.h>
#include <string.h>

#include "clones.h"

/* Into each clone, which may have an instruction that counts ones. */
#define INLINE static inline __attribute__((always_inline))

enum { kBlockBits = 512, kRun = 4096 };

typedef struct {
  const uint64_t* bits;
  const uint32_t* before;  /* ones before each block, and before the end */
  const uint32_t* starts;  /* of each node in the bits */
  const uint32_t* ones;    /* before each node */
  const int32_t* children; /* two for each node: another one, or ~symbol */
  int64_t nodes;           /* none where all symbols are equal; the root is the first */
  int64_t blocks;
  int64_t only;        /* the symbol, where all are equal */
  const int32_t* path; /* from the delimiter up: nodes, and on which side of each it is */
  int64_t depth;
} Tree;

#define TREE                                                                                                           \
  const uint64_t *bits, const uint32_t *before, const uint32_t *starts, const uint32_t *ones, const int32_t *children, \
      int64_t nodes, int64_t blocks, int64_t only, const int32_t *path, int64_t depth
#define GIVEN {bits, before, starts, ones, children, nodes, blocks, only, path, depth}

INLINE int bit_of(const Tree* tree, int64_t at) { return (int)(tree->bits[at >> 6] >> (at & 63) & 1); }

/* Ones before a position. */
INLINE int64_t rank(const Tree* tree, int64_t at) {
  const uint64_t* word = tree->bits + (at / kBlockBits) * (kBlockBits / 64);
  int64_t count = tree->before[at / kBlockBits];
  for (; word < tree->bits + (at >> 6); ++word) count += __builtin_popcountll(*word);
  return (at & 63) ? count + __builtin_popcountll(*word & (((uint64_t)1 << (at & 63)) - 1)) : count;
}

/* Ones in n bits from a position on, with so many before it. */
INLINE int64_t ones_in(const Tree* tree, int64_t at, int64_t n, int64_t before) {
  const int64_t last = at + n - 1;
  if (n > 64) return rank(tree, at + n) - before;
  const uint64_t from = ~(uint64_t)0 << (at & 63), to = ~(uint64_t)0 >> (63 - (last & 63));
  const uint64_t low = tree->bits[at >> 6] & from, high = tree->bits[last >> 6] & to;
  if (at >> 6 == last >> 6) return __builtin_popcountll(low & to);
  return __builtin_popcountll(low) + __builtin_popcountll(high);
}

/* Where the bit of this kind is, in a node, that has `count` of them before it: a binary search for its block, then
   words and bits. */
INLINE int64_t select_bit(const Tree* tree, int32_t node, int bit, int64_t count) {
  const int64_t start = tree->starts[node];
  int64_t low = start / kBlockBits,
          high = node + 1 < tree->nodes ? tree->starts[node + 1] / kBlockBits + 1 : tree->blocks;
  count += bit ? tree->ones[node] : start - tree->ones[node];
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    const int64_t there = bit ? tree->before[middle] : middle * kBlockBits - tree->before[middle];
    const int is_lower = there <= count;
    low = is_lower ? middle : low;
    high = is_lower ? high : middle;
  }
  count -= bit ? tree->before[low] : low * kBlockBits - tree->before[low];
  for (int64_t word = low * (kBlockBits / 64);; ++word) {
    uint64_t left = bit ? tree->bits[word] : ~tree->bits[word];
    const int64_t there = __builtin_popcountll(left);
    if (count < there) {
      for (; count; --count) left &= left - 1;
      return word * 64 + __builtin_ctzll(left) - start;
    }
    count -= there;
  }
}

/* Where the delimiter is that has `count` of them before it. */
INLINE int64_t select_delimiter(const Tree* tree, int64_t count) {
  for (int64_t level = 0; level < tree->depth; ++level)
    count = select_bit(tree, tree->path[2 * level], tree->path[2 * level + 1], count);
  return count;
}

/* Access to one symbol below a node. */
INLINE int access_one(const Tree* tree, int32_t node, int64_t place) {
  while (node >= 0) {
    const int64_t at = tree->starts[node] + place, there = rank(tree, at) - tree->ones[node];
    const int64_t bit = bit_of(tree, at);
    place = bit ? there : place - there;
    node = tree->children[2 * node + bit];
  }
  return ~node;
}

/* Access to n neighbouring symbols: those on either side of a node are found first, then merged by its bits, without
   branches that would be guessed wrong. place: in the node. spare: room for n symbols at every level below. */
CLONES void access_range(const Tree* tree, int32_t node, int64_t place, int64_t n, uint16_t* out, uint16_t* spare) {
  if (n == 1) *out = (uint16_t)access_one(tree, node, place);
  if (n <= 1) return;
  if (node < 0) {
    for (int64_t k = 0; k < n; ++k) out[k] = (uint16_t)~node;
    return;
  }
  const int64_t at = tree->starts[node] + place;
  const int64_t before = rank(tree, at), ones = ones_in(tree, at, n, before), right = before - tree->ones[node];
  access_range(tree, tree->children[2 * node], place - right, n - ones, spare, spare + n);
  access_range(tree, tree->children[2 * node + 1], right, ones, spare + n - ones, spare + n);
  int64_t taken = 0; /* from the right side, whose symbols begin at n - ones */
  for (int64_t k = 0; k < n;) {
    uint64_t word = tree->bits[(at + k) >> 6] >> ((at + k) & 63);
    const int64_t here = 64 - ((at + k) & 63), stop = k + here < n ? k + here : n;
    for (; k < stop; ++k, word >>= 1) {
      const int64_t bit = (int64_t)(word & 1), from_left = k - taken, from_right = n - ones + taken;
      out[k] = spare[from_left + ((from_right - from_left) & -bit)];
      taken += bit;
    }
  }
}
INLINE int32_t root_of(const Tree* tree) { return tree->nodes ? 0 : ~(int32_t)tree->only; }

/* The bits of n symbols; codes: by symbol, the first bit highest. bits: zeros. places: of each node, zeros. */
int64_t build(const uint16_t* symbols, int64_t n, const uint8_t* lengths, const uint64_t* codes, const uint32_t* starts,
              const int32_t* children, int64_t* places, uint64_t* bits) {
  for (int64_t k = 0; k < n; ++k) {
    int32_t node = 0;
    for (int level = lengths[symbols[k]]; level--;) {
      const uint64_t bit = codes[symbols[k]] >> level & 1;
      const int64_t at = starts[node] + places[node]++;
      bits[at >> 6] |= bit << (at & 63);
      node = children[2 * node + (int)bit];
    }
  }
  return 0;
}

/* The rank directory of so many words of bits; before: an element for each block begun, and one for the end. */
CLONES int64_t count_ones(const uint64_t* bits, int64_t words, uint32_t* before) {
  uint32_t ones = 0;
  for (int64_t word = 0; word < words; ++word) {
    if (word % (kBlockBits / 64) == 0) *before++ = ones;
    ones += (uint32_t)__builtin_popcountll(bits[word]);
  }
  *before = ones;
  return 0;
}
/* The ones before each node. */
CLONES int64_t count_starts(const uint64_t* bits, const uint32_t* before, const uint32_t* starts, int64_t nodes,
                            uint32_t* ones) {
  const Tree tree = {.bits = bits, .before = before};
  for (int64_t node = 0; node < nodes; ++node) ones[node] = (uint32_t)rank(&tree, starts[node]);
  return 0;
}

/* spare: room for kRun symbols for each bit of the longest code, and kRun more. */
CLONES int64_t decode(TREE, int64_t n, uint16_t* out, uint16_t* spare) {
  const Tree tree = GIVEN;
  for (int64_t k = 0; k < n; k += kRun)
    access_range(&tree, root_of(&tree), k, n - k < kRun ? n - k : kRun, out + k, spare);
  return 0;
}

/* The symbols of one value as a number: an index into a table, a bfloat16 (2 bytes) or a float32 (4), turned left. */
INLINE float number(const uint16_t* symbols, int64_t width, const float* table) {
  if (table) return table[*symbols];
  uint32_t word = 0;
  for (int64_t k = 0; k < width; ++k) word |= (uint32_t)symbols[k] << 8 * k;
  word = width == 4 ? word >> 1 | word << 31 : word >> 1 << 16 | word << 31;
  float value;
  memcpy(&value, &word, 4);
  return value;
}

/* Two selects find a range, and access gives its symbols. count: of ranges. A range is a row, or with `elements` an
   operand. width: symbols of a value. With `pruned` the zeros before a value are a symbol before it. room: for the
   symbols of the longest range, and for as many for each bit of the longest code. */
CLONES int64_t product(TREE, int64_t count, int64_t elements, int64_t pruned, int64_t width, const float* table,
                       int64_t rows, int64_t columns, const float* x, float* y, uint16_t* room) {
  const Tree tree = GIVEN;
  for (int64_t row = 0; row < rows; ++row) y[row] = 0;
  int64_t row = 0, column = 0;
  for (int64_t range = 0; range < count; ++range) {
    const int64_t first = range ? select_delimiter(&tree, range - 1) + 1 : 0,
                  n = select_delimiter(&tree, range) - first;
    if (elements) {
      for (int64_t k = 0; k < n; ++k) room[k] = (uint16_t)access_one(&tree, root_of(&tree), first + k);
    } else {
      access_range(&tree, root_of(&tree), first, n, room, room + n);
      row = range, column = 0;
    }
    float sum = 0;
    for (int64_t k = 0; k < n; k += width) {
      if (pruned) column += room[k++];
      for (; elements && column >= columns; column -= columns) ++row;
      sum += number(room + k, width, table) * x[column++];
    }
    y[row] += sum;
  }
  return 0;
}

// The same rounding as kernels.py in one pass over memory: scale, round, rescale, count.
// Built on first use by native.py with -ffp-contract=off and without fast-math; bit-equal to the
// torch version by test. Work is cut into chunks of fixed size, so no result depends on threads.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct Grid {
  int32_t shift, half_minus_one, keep, flip;
  float min_normal, low, lift, lo, hi, over_lo, over_hi, zero;
  float lo_threshold, hi_threshold, smallest_normal;
};
struct bf16 { uint16_t bits; };
struct half { uint16_t bits; };

constexpr uint32_t INFINITE = 0x7F800000u;
enum Rule { UNIT = 0, GIVEN_ONE = 1, GIVEN_EACH = 2, EXACT = 3, POWER_OF_TWO = 4, MX = 5 };
constexpr int64_t CHUNK = 1 << 14;
constexpr int COUNTS = 8;  // amax overflow underflow subnormal nan inf signal noise

inline float as_float(uint32_t w) { float v; std::memcpy(&v, &w, 4); return v; }
inline uint32_t as_word(float v) { uint32_t w; std::memcpy(&w, &v, 4); return w; }
inline float load(float v) { return v; }
inline float load(bf16 v) { return as_float(static_cast<uint32_t>(v.bits) << 16); }
inline float load(half v) {
  const uint32_t w = v.bits & 0x7FFFu, sign = static_cast<uint32_t>(v.bits & 0x8000u) << 16;
  const uint32_t number = as_word(as_float(w << 13) * 0x1p112f);  // exact, subnormals too
  return as_float((w >= 0x7C00u ? 0x7F800000u | (w << 13) : number) | sign);
}
inline void store(float* p, float v) { *p = v; }
inline void store(bf16* p, float v) {
  const uint32_t w = as_word(v);
  const uint32_t rounded = (w + 0x7FFF + ((w >> 16) & 1)) >> 16;
  p->bits = static_cast<uint16_t>(v != v ? 0x7FC0 : rounded);
}
inline void store(half* p, float v) {
  const uint32_t w = as_word(v), aw = w & 0x7FFFFFFFu;
  const float a = as_float(aw);
  uint32_t h = ((aw + 0xFFFu + ((aw >> 13) & 1u)) >> 13) - (112u << 10);
  h = a < 0x1p-14f ? as_word(a + 0.5f) - 0x3F000000u : h;  // 0.5's spacing is fp16's smallest
  h = a >= 65520.0f ? 0x7C00u : h;
  h = v != v ? 0x7E00u : h;
  p->bits = static_cast<uint16_t>(h | ((w >> 16) & 0x8000u));
}

// random_bits.py's hash: spread(j) * many + add, many and add fixed for each stretch of 2^16.
constexpr uint32_t STRETCH_OF_BITS = 1u << 16;
inline uint32_t mixed(uint32_t h, uint32_t first, uint32_t second) {
  h ^= first;
  h = (h ^ (h >> 16)) * 0x7FEB352Du;
  h ^= second;
  h = (h ^ (h >> 15)) * 0x846CA68Bu;
  return h ^ (h >> 16);
}
inline uint32_t spread(uint32_t position, uint32_t key0) {
  uint32_t h = (position ^ key0) * 0x7FEB352Du;
  h = (h ^ (h >> 15)) * 0x846CA68Bu;
  return h ^ (h >> 16);
}

// One scale for the run, or EACH element its own; MULTIPLY by the reciprocal where that is exact.
struct Scale { float scale, inverse; const float *scales, *inverses; bool unscaled; };
struct Keys { uint32_t first, second; };

// Where a run begins within its stretch of random bits, and what that stretch multiplies and adds.
struct Place { uint32_t position, many, add, key; };
inline Place place_of(uint32_t index, Keys keys) {
  const uint32_t stretch = index / STRETCH_OF_BITS;
  return {index % STRETCH_OF_BITS, mixed(stretch, keys.second, keys.first) | 1u,
          mixed(stretch ^ 0x5BD1E995u, keys.second, keys.first), keys.first};
}

// How to count: not at all; with every case; or hoping that all x are finite, in a format whose
// range is symmetric, where three comparisons suffice. An amax of infinity says that it was in vain.
enum Counting { NOTHING = 0, EVERYTHING = 1, FINITE = 2 };

template <bool RANDOM, bool MULTIPLY, Counting COUNT, bool EACH, typename I, typename O>
inline void round_stretch(const I* x, O* y, int64_t n, const Grid& shared, const Scale& c,
                          const Place& place, double* counts) {
  const uint32_t position = place.position, many = place.many, add = place.add, key = place.key;
  const Grid g = shared;  // copies that no store to y can alias
  const float one_scale = c.scale, one_inverse = c.inverse;
  const float *scales = c.scales, *inverses = c.inverses;
  const bool unscaled = c.unscaled;
  const float one_back = unscaled ? 1.0f : one_scale;
  const int random_shift = 32 - g.shift;
  int32_t over = 0, under = 0, sub = 0, nans = 0, infs = 0, none = 0, zeros = 0, small = 0;
  float amax = 0.0f, signal = 0.0f, noise = 0.0f;
  uint32_t largest = 0;
#pragma omp simd reduction(+ : over, under, sub, nans, infs, none, zeros, small, signal, noise) \
    reduction(max : amax, largest)
  for (int64_t i = 0; i < n; ++i) {
    const float v = load(x[i]);
    const float scale = EACH ? scales[i] : one_scale;
    const float s = MULTIPLY ? v * (EACH ? inverses[i] : one_inverse) : v / scale;
    const uint32_t word = as_word(s), aw = word & 0x7FFFFFFFu;
    const float a = as_float(aw);
    const bool below = a < g.min_normal;
    float t;
    if (RANDOM) {
      const uint32_t j = position + static_cast<uint32_t>(i);
      const uint32_t bits = (spread(j, key) * many + add) >> random_shift;
      const float lift = below ? g.lift : 0.0f;
      const uint32_t word_up = as_word(a + lift) + bits;
      t = as_float(word_up & static_cast<uint32_t>(g.keep)) - lift;
    } else {
      const uint32_t odd = ((aw >> g.shift) & 1u) ^ static_cast<uint32_t>(g.flip);
      const uint32_t up = aw + static_cast<uint32_t>(g.half_minus_one) + odd;
      const float fixed = (a + g.low) - g.low;
      t = below ? fixed : as_float(up & static_cast<uint32_t>(g.keep));
    }
    float q = as_float(as_word(t) | (word & 0x80000000u));
    q = q > g.hi ? g.over_hi : q;
    q = q < g.lo ? g.over_lo : q;
    q = s != s ? NAN : q + g.zero;
    const float scaled = q * scale;
    const float out = EACH ? (unscaled ? q : scaled) : q * one_back;
    store(y + i, out);
    if (COUNT == FINITE) {
      const float error = scaled - v;
      largest = std::max(largest, as_word(v) & 0x7FFFFFFFu);
      over += a > g.hi_threshold;
      none += v == 0.0f;
      zeros += q == 0.0f;
      small += std::fabs(q) < g.smallest_normal;
      signal += v * v;
      noise += error * error;
    }
    if (COUNT == EVERYTHING) {
      const float magnitude = std::fabs(v), size = std::fabs(q);
      const bool finite = magnitude < INFINITY;
      amax = std::max(amax, finite ? magnitude : 0.0f);
      over += (s > g.hi_threshold) | (s < g.lo_threshold);
      under += (v != 0.0f) & (q == 0.0f);
      sub += (size < g.smallest_normal) & (size > 0.0f);
      nans += v != v;
      infs += magnitude == INFINITY;
      const float error = scaled - v;
      signal += finite ? v * v : 0.0f;
      noise += finite ? error * error : 0.0f;
    }
  }
  if (COUNT == FINITE) {
    under = zeros - none, sub = small - zeros;
    amax = largest < INFINITE ? as_float(largest) : INFINITY;
  }
  if (COUNT) {
    counts[0] = std::max(counts[0], static_cast<double>(amax));
    const double sums[] = {double(over), double(under), double(sub),
                           double(nans), double(infs), double(signal), double(noise)};
    for (int k = 0; k < 7; ++k) counts[k + 1] += sums[k];
  }
}

// A run may lie in several stretches of random bits.
template <bool RANDOM, bool MULTIPLY, Counting COUNT, bool EACH, typename I, typename O>
inline void round_stretches(const I* x, O* y, int64_t n, const Grid& g, Scale c, uint32_t index,
                            Keys keys, double* counts) {
  while (RANDOM && index % STRETCH_OF_BITS + n > STRETCH_OF_BITS) {
    const int64_t part = STRETCH_OF_BITS - index % STRETCH_OF_BITS;
    round_stretch<RANDOM, MULTIPLY, COUNT, EACH>(x, y, part, g, c, place_of(index, keys), counts);
    x += part, y += part, n -= part, index += static_cast<uint32_t>(part);
    if (EACH) c.scales += part, c.inverses += part;
  }
  const Place place = RANDOM ? place_of(index, keys) : Place{};
  round_stretch<RANDOM, MULTIPLY, COUNT, EACH>(x, y, n, g, c, place, counts);
}

// The largest |x| as a bit pattern: above that of infinity where there is a NaN.
template <typename I>
inline uint32_t largest_word(const I* x, int64_t n) {
  uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, as_word(load(x[i])) & 0x7FFFFFFFu);
  return largest;
}

inline void add_counts(double* total, const double* part) {
  total[0] = std::max(total[0], part[0]);
  for (int j = 1; j < COUNTS; ++j) total[j] += part[j];
}

template <typename I, typename O>
inline bool apart(const I* x, const O* y, int64_t n) {
  const auto a = reinterpret_cast<uintptr_t>(x), b = reinterpret_cast<uintptr_t>(y);
  return a + n * sizeof(I) <= b || b + n * sizeof(O) <= a;
}

template <bool RANDOM, bool MULTIPLY, bool COUNT, bool EACH, typename I, typename O>
inline void round_run(const I* x, O* y, int64_t n, const Grid& g, const Scale& c, uint32_t index,
                      Keys keys, double* counts) {
  if (!COUNT)
    return round_stretches<RANDOM, MULTIPLY, NOTHING, EACH>(x, y, n, g, c, index, keys, counts);
  const bool symmetric = g.lo_threshold == -g.hi_threshold;
  if (symmetric && (apart(x, y, n) || largest_word(x, n) < INFINITE)) {
    double found[COUNTS] = {};
    round_stretches<RANDOM, MULTIPLY, FINITE, EACH>(x, y, n, g, c, index, keys, found);
    if (found[0] < INFINITY) return add_counts(counts, found);
  }
  round_stretches<RANDOM, MULTIPLY, EVERYTHING, EACH>(x, y, n, g, c, index, keys, counts);
}

inline bool reciprocal_is_exact(float scale) {
  const uint32_t w = as_word(scale);
  return (w & 0x807FFFFFu) == 0 && w >= 0x00800000u && w <= 0x7F000000u;
}

template <typename I>
inline float amax_of(const I* x, int64_t n) {
  const uint32_t largest = largest_word(x, n);
  if (largest < INFINITE) return as_float(largest);
  float amax = 0.0f;
#pragma omp simd reduction(max : amax)
  for (int64_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(load(x[i]));
    amax = std::max(amax, magnitude < INFINITY ? magnitude : 0.0f);
  }
  return amax;
}

template <typename I>
void group_amax(const I* x, float* amax, int64_t groups, int64_t group_size, int32_t threads) {
  const int64_t per_task = std::max<int64_t>(1, CHUNK / std::max<int64_t>(1, group_size));
  const int64_t tasks = (groups + per_task - 1) / per_task;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t task = 0; task < tasks; ++task)
    for (int64_t k = task * per_task; k < std::min(groups, (task + 1) * per_task); ++k)
      amax[k] = amax_of(x + k * group_size, group_size);
}

// The scale rules of scaling.py; amax = 0 gives 1.
inline float scale_of(float amax, int rule, float format_max, int max_exponent) {
  float scale;
  if (rule == MX) {
    const int wanted = static_cast<int>(as_word(amax) >> 23) - 127 - max_exponent;
    const int exponent = std::max(-126, std::min(127, wanted));
    scale = as_float(static_cast<uint32_t>(exponent + 127) << 23);
    scale = wanted < -126 ? 0x1p-127f : scale;
  } else {
    scale = std::max(amax / format_max, 0x1p-126f);
    if (rule == POWER_OF_TWO) scale = as_float((as_word(scale) + 0x7FFFFFu) & 0x7F800000u);
  }
  return amax > 0.0f ? scale : 1.0f;
}

template <bool RANDOM, bool COUNT, typename I, typename O>
void round_group(const I* x, O* y, int64_t n, const Grid& g, float scale, bool unscaled,
                 uint32_t index, Keys keys, double* counts) {
  const Scale one{scale, 1.0f / scale, nullptr, nullptr, unscaled};
  if (reciprocal_is_exact(scale))
    round_run<RANDOM, true, COUNT, false>(x, y, n, g, one, index, keys, counts);
  else
    round_run<RANDOM, false, COUNT, false>(x, y, n, g, one, index, keys, counts);
}

struct Call {
  int64_t groups, group_size;
  int32_t rule, unscaled, count_rows, threads, max_exponent;
  float format_max;
  Keys keys;
};

// A group longer than a chunk: its chunks in parallel, one group after the other.
template <bool RANDOM, bool COUNT, typename I, typename O>
void long_groups(const I* x, O* y, float* scales, double* counts, const Grid& g, const Call& c) {
  const int64_t chunks = (c.group_size + CHUNK - 1) / CHUNK;
  std::vector<double> partial(COUNT ? chunks * COUNTS : 0);
  std::vector<float> peaks(c.rule >= EXACT ? chunks : 0);
  for (int64_t group = 0; group < c.groups; ++group) {
    const I* in = x + group * c.group_size;
    O* out = y + group * c.group_size;
    float scale = c.rule == UNIT ? 1.0f : scales[c.rule == GIVEN_ONE ? 0 : group];
    if (c.rule >= EXACT) {
#pragma omp parallel for num_threads(c.threads) schedule(static)
      for (int64_t k = 0; k < chunks; ++k)
        peaks[k] = amax_of(in + k * CHUNK, std::min(CHUNK, c.group_size - k * CHUNK));
      const float amax = *std::max_element(peaks.begin(), peaks.end());
      scales[group] = scale = scale_of(amax, c.rule, c.format_max, c.max_exponent);
    }
    std::fill(partial.begin(), partial.end(), 0.0);
#pragma omp parallel for num_threads(c.threads) schedule(static)
    for (int64_t k = 0; k < chunks; ++k) {
      const int64_t start = k * CHUNK, n = std::min(CHUNK, c.group_size - start);
      const uint32_t index = static_cast<uint32_t>(group * c.group_size + start);
      round_group<RANDOM, COUNT>(in + start, out + start, n, g, scale, c.unscaled, index, c.keys,
                                 COUNT ? &partial[k * COUNTS] : nullptr);
    }
    if (COUNT) {
      double* total = counts + (c.count_rows ? group * COUNTS : 0);
      for (int64_t k = 0; k < chunks; ++k) add_counts(total, &partial[k * COUNTS]);
    }
  }
}

inline float pick_scale(float* scales, int64_t group, const Call& c) {
  return c.rule == UNIT ? 1.0f : scales[c.rule == GIVEN_ONE ? 0 : group];
}

// Groups of at most a chunk: many groups per task.
template <bool RANDOM, bool COUNT, typename I, typename O>
void short_groups(const I* x, O* y, float* scales, double* counts, const Grid& g, const Call& c) {
  const int64_t per_task = std::max<int64_t>(1, CHUNK / std::max<int64_t>(1, c.group_size));
  const int64_t tasks = (c.groups + per_task - 1) / per_task;
  std::vector<double> partial(COUNT && !c.count_rows ? tasks * COUNTS : 0);
#pragma omp parallel for num_threads(c.threads) schedule(static)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t first = task * per_task, last = std::min(c.groups, first + per_task);
    for (int64_t group = first; group < last; ++group) {
      const int64_t start = group * c.group_size;
      if (c.rule >= EXACT)
        scales[group] =
            scale_of(amax_of(x + start, c.group_size), c.rule, c.format_max, c.max_exponent);
      double* into = !COUNT ? nullptr
                            : c.count_rows ? counts + group * COUNTS : &partial[task * COUNTS];
      round_group<RANDOM, COUNT>(x + start, y + start, c.group_size, g,
                                 pick_scale(scales, group, c), c.unscaled,
                                 static_cast<uint32_t>(start), c.keys, into);
    }
  }
  for (size_t task = 0; task * COUNTS < partial.size(); ++task)
    add_counts(counts, &partial[task * COUNTS]);
}

// Blocks of a few numbers: the scales of a stretch first, all at once.
constexpr int64_t TINY = 128, STRETCH = 2048;
template <int SIZE, typename I>
inline void largest_of_blocks(const I* x, int64_t size, int64_t blocks, float* largest) {
  if (SIZE) size = SIZE;
  for (int64_t k = 0; k < blocks; ++k) largest[k] = as_float(largest_word(x + k * size, size));
}

template <typename I>
void scales_of_blocks(const I* x, float* scales, int64_t blocks, const Call& c) {
  const int64_t size = c.group_size;
  if (size == 32) largest_of_blocks<32>(x, size, blocks, scales);
  else if (size == 16) largest_of_blocks<16>(x, size, blocks, scales);
  else largest_of_blocks<0>(x, size, blocks, scales);
  for (int64_t k = 0; k < blocks; ++k)  // a block with NaN or infinities: once more, slowly
    if (!(scales[k] < INFINITY)) scales[k] = amax_of(x + k * size, size);
  const int rule = c.rule, exponent = c.max_exponent;
  const float largest = c.format_max;
  if (rule == MX)
    for (int64_t k = 0; k < blocks; ++k) scales[k] = scale_of(scales[k], MX, largest, exponent);
  else
    for (int64_t k = 0; k < blocks; ++k) scales[k] = scale_of(scales[k], rule, largest, exponent);
}

// Blocks of a size known beforehand, each with its scale in a register; the numbers of the next
// stretch are called for meanwhile.
template <bool RANDOM, bool MULTIPLY, int SIZE, typename I, typename O>
void fixed_blocks(const I* x, O* y, int64_t blocks, const Grid& g, const float* scales,
                  const float* inverses, bool unscaled, Place place) {
  for (int64_t k = 0; k < blocks; ++k, place.position += SIZE) {
    const Scale own{scales[k], inverses[k], nullptr, nullptr, unscaled};
    for (int i = 0; i < SIZE; i += 64 / sizeof(I))
      __builtin_prefetch(x + k * SIZE + STRETCH + i, 0, 3);
    round_stretch<RANDOM, MULTIPLY, NOTHING, false>(x + k * SIZE, y + k * SIZE, SIZE, g, own, place,
                                                    nullptr);
  }
}

template <bool RANDOM, bool MULTIPLY, bool COUNT, typename I, typename O>
void tiny_groups(const I* x, O* y, float* scales, double* counts, const Grid& g, const Call& c) {
  const int64_t size = c.group_size, per_task = STRETCH / size;
  const int64_t tasks = (c.groups + per_task - 1) / per_task;
  const bool fixed = !COUNT && (size == 32 || size == 16);  // within one stretch of random bits
  std::vector<double> partial(COUNT ? tasks * COUNTS : 0);
#pragma omp parallel for num_threads(c.threads) schedule(static)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t first = task * per_task, blocks = std::min(c.groups - first, per_task);
    const int64_t start = first * size, n = blocks * size;
    const uint32_t index = static_cast<uint32_t>(start);
    alignas(64) float own[STRETCH], inverse[STRETCH], each[STRETCH];
    if (c.rule >= EXACT) scales_of_blocks(x + start, scales + first, blocks, c);
    for (int64_t k = 0; k < blocks; ++k) own[k] = pick_scale(scales, first + k, c);
    for (int64_t k = 0; k < blocks; ++k) inverse[k] = 1.0f / own[k];
    if (fixed && size == 32) {
      fixed_blocks<RANDOM, MULTIPLY, 32>(x + start, y + start, blocks, g, own, inverse, c.unscaled,
                                         place_of(index, c.keys));
    } else if (fixed) {
      fixed_blocks<RANDOM, MULTIPLY, 16>(x + start, y + start, blocks, g, own, inverse, c.unscaled,
                                         place_of(index, c.keys));
    } else {
      alignas(64) float back[STRETCH];
      for (int64_t k = 0; k < blocks; ++k)
        for (int64_t i = 0; i < size; ++i) each[k * size + i] = own[k], back[k * size + i] = inverse[k];
      const Scale many{1.0f, 1.0f, each, back, c.unscaled != 0};
      round_run<RANDOM, MULTIPLY, COUNT, true>(x + start, y + start, n, g, many, index, c.keys,
                                               COUNT ? &partial[task * COUNTS] : nullptr);
    }
  }
  for (size_t task = 0; task * COUNTS < partial.size(); ++task)
    add_counts(counts, &partial[task * COUNTS]);
}

template <bool RANDOM, bool COUNT, typename I, typename O>
void by_blocks(const I* x, O* y, float* scales, double* counts, const Grid& g, const Call& c) {
  // 2^-127, MX's smallest scale, has the exact reciprocal 2^127.
  if (c.rule >= POWER_OF_TWO) tiny_groups<RANDOM, true, COUNT>(x, y, scales, counts, g, c);
  else tiny_groups<RANDOM, false, COUNT>(x, y, scales, counts, g, c);
}

template <typename I, typename O>
void dispatch(const void* x, void* y, float* scales, double* counts, const Grid& g, const Call& c,
              bool random) {
  const I* in = static_cast<const I*>(x);
  O* out = static_cast<O*>(y);
  const bool is_long = c.group_size > CHUNK, is_tiny = c.group_size <= TINY && !c.count_rows;
#define ALTGRAD_RUN(R, C)                                         \
  (is_long   ? long_groups<R, C>(in, out, scales, counts, g, c)   \
   : is_tiny ? by_blocks<R, C>(in, out, scales, counts, g, c)     \
             : short_groups<R, C>(in, out, scales, counts, g, c))
  if (random) counts ? ALTGRAD_RUN(true, true) : ALTGRAD_RUN(true, false);
  else counts ? ALTGRAD_RUN(false, true) : ALTGRAD_RUN(false, false);
#undef ALTGRAD_RUN
}

}  // namespace

// Types: 0 float32, 1 bfloat16, 2 float16. Output: the input's type, or bfloat16 from float32.
extern "C" int altgrad_round(const void* x, void* y, float* scales, double* counts, const Grid* g,
                             int32_t in_type, int32_t out_type, int64_t groups, int64_t group_size,
                             int32_t rule, int32_t unscaled, int32_t count_rows, int32_t threads,
                             float format_max, int32_t max_exponent, int32_t random,
                             uint32_t key0, uint32_t key1) {
  const int32_t used = groups * group_size < 2 * CHUNK ? 1 : threads;
  const Call c{groups, group_size, rule, unscaled, count_rows, used, max_exponent, format_max,
               {key0, key1}};
  if (in_type == 0 && out_type == 0) dispatch<float, float>(x, y, scales, counts, *g, c, random);
  else if (in_type == 0 && out_type == 1) dispatch<float, bf16>(x, y, scales, counts, *g, c, random);
  else if (in_type == 1 && out_type == 1) dispatch<bf16, bf16>(x, y, scales, counts, *g, c, random);
  else if (in_type == 2 && out_type == 2) dispatch<half, half>(x, y, scales, counts, *g, c, random);
  else return 1;
  return 0;
}

// The largest finite |x| of every group of neighbours. Types as above.
extern "C" int altgrad_group_amax(const void* x, float* amax, int32_t type, int64_t groups,
                                  int64_t group_size, int32_t threads) {
  const int32_t used = groups * group_size < 2 * CHUNK ? 1 : threads;
  if (type == 0) group_amax(static_cast<const float*>(x), amax, groups, group_size, used);
  else if (type == 1) group_amax(static_cast<const bf16*>(x), amax, groups, group_size, used);
  else if (type == 2) group_amax(static_cast<const half*>(x), amax, groups, group_size, used);
  else return 1;
  return 0;
}

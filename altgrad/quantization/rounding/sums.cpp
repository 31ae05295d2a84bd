// Sums over all tensors of a model in one call: what the instruments of training read every step.
// `sums.py` has the same in torch operations; sums are in double, so both agree to rounding.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

extern "C" int altgrad_round(const void* x, void* y, float* scales, double* counts, const void* g,
                             int32_t in_type, int32_t out_type, int64_t groups, int64_t group_size,
                             int32_t rule, int32_t unscaled, int32_t count_rows, int32_t threads,
                             float format_max, int32_t max_exponent, int32_t random,
                             uint32_t key0, uint32_t key1);

namespace {

enum Rule { UNIT = 0, GIVEN_ONE = 1, GIVEN_EACH = 2, EXACT = 3 };  // as in native.cpp
constexpr int64_t CHUNK = 1 << 14;

struct Piece { int64_t tensor, start, size, part; };  // `part`: number within the tensor

// Cuts tensors into pieces of about CHUNK numbers, each a multiple of its tensor's unit.
std::vector<Piece> cut(int64_t tensors, const int64_t* sizes, const int64_t* units) {
  std::vector<Piece> pieces;
  for (int64_t t = 0; t < tensors; ++t) {
    const int64_t step = std::max<int64_t>(1, CHUNK / units[t]) * units[t];
    for (int64_t start = 0, part = 0; start < sizes[t]; start += step, ++part)
      pieces.push_back({t, start, std::min(step, sizes[t] - start), part});
  }
  return pieces;
}

struct Sums { double shifted, squares, energy, dead; float peak; };

Sums sums_of(const float* x, int64_t n, float first, float threshold) {
  double shifted = 0, squares = 0, energy = 0;
  int64_t dead = 0;
  float peak = 0.0f;
#pragma omp simd reduction(+ : shifted, squares, energy, dead) reduction(max : peak)
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i], d = v - first;
    const float size = std::fabs(x[i]);
    shifted += d;
    squares += d * d;
    energy += v * v;
    dead += size < threshold;
    peak = std::max(peak, size);
  }
  return {shifted, squares, energy, double(dead), energy != energy ? NAN : peak};
}

}  // namespace

// Per tensor: sum of (x - x[0]), of its square, of x², numbers below the threshold, largest |x|, x[0];
// and the largest |x| of every row, one tensor after the other.
extern "C" void altgrad_gradient_sums(int64_t tensors, const float* const* x, const int64_t* sizes,
                                      const int64_t* rows, float threshold, double* table,
                                      float* peaks, int32_t threads) {
  std::vector<int64_t> units(tensors), first_row(tensors);
  for (int64_t t = 0, seen = 0; t < tensors; seen += rows[t++])
    units[t] = sizes[t] / rows[t], first_row[t] = seen;
  const std::vector<Piece> pieces = cut(tensors, sizes, units.data());
  std::vector<Sums> found(pieces.size());
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (size_t k = 0; k < pieces.size(); ++k) {
    const Piece& p = pieces[k];
    Sums total{0, 0, 0, 0, 0};
    for (int64_t at = 0; at < p.size; at += units[p.tensor]) {
      const float* row = x[p.tensor] + p.start + at;
      const Sums s = sums_of(row, units[p.tensor], x[p.tensor][0], threshold);
      peaks[first_row[p.tensor] + (p.start + at) / units[p.tensor]] = s.peak;
      total = {total.shifted + s.shifted, total.squares + s.squares, total.energy + s.energy,
               total.dead + s.dead, s.peak < total.peak ? total.peak : s.peak};
    }
    found[k] = total;
  }
  for (size_t k = 0; k < pieces.size(); ++k) {
    double* line = table + 6 * pieces[k].tensor;
    const Sums& s = found[k];
    const double parts[] = {s.shifted, s.squares, s.energy, s.dead};
    for (int j = 0; j < 4; ++j) line[j] += parts[j];
    line[4] = line[2] != line[2] ? NAN : std::max(line[4], double(s.peak));
    line[5] = x[pieces[k].tensor][0];
  }
}

// Per pair of tensors: a·a, b·b, a·b, |a - b|², sums of (x - x[0]) and its square for a and for b,
// a[0], b[0].
extern "C" void altgrad_pair_sums(int64_t tensors, const float* const* a, const float* const* b,
                                  const int64_t* sizes, double* table, int32_t threads) {
  constexpr int COLUMNS = 8;
  const std::vector<int64_t> units(tensors, 1);
  const std::vector<Piece> pieces = cut(tensors, sizes, units.data());
  std::vector<double> found(COLUMNS * pieces.size());
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (size_t k = 0; k < pieces.size(); ++k) {
    const Piece& p = pieces[k];
    const float *x = a[p.tensor] + p.start, *y = b[p.tensor] + p.start;
    const double x0 = a[p.tensor][0], y0 = b[p.tensor][0];
    double aa = 0, bb = 0, ab = 0, dd = 0, a1 = 0, a2 = 0, b1 = 0, b2 = 0;
#pragma omp simd reduction(+ : aa, bb, ab, dd, a1, a2, b1, b2)
    for (int64_t i = 0; i < p.size; ++i) {
      const double v = x[i], w = y[i], dx = v - x0, dy = w - y0;
      aa += v * v, bb += w * w, ab += v * w, dd += (v - w) * (v - w);
      a1 += dx, a2 += dx * dx, b1 += dy, b2 += dy * dy;
    }
    const double line[] = {aa, bb, ab, dd, a1, a2, b1, b2};
    std::copy(line, line + COLUMNS, &found[COLUMNS * k]);
  }
  for (size_t k = 0; k < pieces.size(); ++k) {
    const int64_t t = pieces[k].tensor;
    double* line = table + (COLUMNS + 2) * t;
    for (int j = 0; j < COLUMNS; ++j) line[j] += found[COLUMNS * k + j];
    line[COLUMNS] = a[t][0], line[COLUMNS + 1] = b[t][0];
  }
}

struct Stored {  // of one tensor: how its numbers are stored; `grid` null = as they are
  const float *before, *after, *kept;
  const void* grid;
  int64_t size, group_size;
  int32_t rule, max_exponent;
  float format_max;
};

// Per tensor: numbers whose value stayed; numbers the optimiser moved (before != after); of those,
// the ones whose stored code changed, with the scale of `before`. `kept` is what was stored.
extern "C" void altgrad_lost_updates(int64_t tensors, const Stored* all, int64_t* table,
                                     int32_t threads) {
  std::vector<int64_t> sizes(tensors), units(tensors);
  for (int64_t t = 0; t < tensors; ++t) {
    const bool whole = !all[t].grid || all[t].group_size == all[t].size;
    sizes[t] = all[t].size, units[t] = whole ? 1 : all[t].group_size;
  }
  const std::vector<Piece> pieces = cut(tensors, sizes.data(), units.data());
  std::vector<float> peaks(pieces.size()), scales(tensors, 1.0f);
  std::vector<int64_t> found(3 * pieces.size());
  const auto one_scale = [&](int64_t t) { return all[t].grid && units[t] == 1; };
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (size_t k = 0; k < pieces.size(); ++k) {
    const Piece& p = pieces[k];
    if (!one_scale(p.tensor) || all[p.tensor].rule < EXACT) continue;
    const float* x = all[p.tensor].before + p.start;
    float peak = 0.0f;
#pragma omp simd reduction(max : peak)
    for (int64_t i = 0; i < p.size; ++i) {
      const float size = std::fabs(x[i]);
      peak = std::max(peak, size < INFINITY ? size : 0.0f);
    }
    peaks[k] = peak;
  }
  for (size_t k = 0; k < pieces.size(); ++k)
    peaks[k - pieces[k].part] = std::max(peaks[k - pieces[k].part], peaks[k]);
  for (size_t k = 0; k < pieces.size(); ++k) {  // a tensor's scale: that of its largest number
    const Stored& s = all[pieces[k].tensor];
    if (pieces[k].part || !one_scale(pieces[k].tensor) || s.rule < EXACT) continue;
    float unused;
    altgrad_round(&peaks[k], &unused, &scales[pieces[k].tensor], nullptr, s.grid, 0, 0, 1, 1,
                  s.rule, 1, 0, 1, s.format_max, s.max_exponent, 0, 0, 0);
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (size_t k = 0; k < pieces.size(); ++k) {
    const Piece& p = pieces[k];
    const Stored& s = all[p.tensor];
    const float *before = s.before + p.start, *after = s.after + p.start, *kept = s.kept + p.start;
    int32_t same = 0, moved = 0, flipped = 0;
#pragma omp simd reduction(+ : same, moved)
    for (int64_t i = 0; i < p.size; ++i) same += before[i] == kept[i], moved += before[i] != after[i];
    if (s.grid) {
      const bool one = one_scale(p.tensor);
      const int64_t size = one ? p.size : s.group_size, groups = p.size / size;
      static thread_local std::vector<float> old, fresh, each;  // kept: fresh ones cost a fill
      old.resize(std::max<size_t>(old.size(), p.size));
      fresh.resize(std::max<size_t>(fresh.size(), p.size));
      each.assign(one ? 1 : groups, scales[p.tensor]);
      const int first = one ? GIVEN_ONE : s.rule, then = one ? GIVEN_ONE : GIVEN_EACH;
      altgrad_round(before, old.data(), each.data(), nullptr, s.grid, 0, 0, groups, size, first, 1,
                    0, 1, s.format_max, s.max_exponent, 0, 0, 0);
      altgrad_round(kept, fresh.data(), each.data(), nullptr, s.grid, 0, 0, groups, size, then, 1,
                    0, 1, s.format_max, s.max_exponent, 0, 0, 0);
#pragma omp simd reduction(+ : flipped)
      for (int64_t i = 0; i < p.size; ++i)
        flipped += (before[i] != after[i]) & (old[i] != fresh[i]);
    }
    found[3 * k] = same, found[3 * k + 1] = moved, found[3 * k + 2] = flipped;
  }
  for (size_t k = 0; k < pieces.size(); ++k)
    for (int j = 0; j < 3; ++j) table[3 * pieces[k].tensor + j] += found[3 * k + j];
}

// Cross-entropy of rows of logits, which become its gradient in place. Built by gatewright.kernels.native.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int64_t tile = 1024;  // terms that are added in float32

inline float load(float x) { return x; }
inline void store(float& place, float x) { place = x; }

struct bfloat16 {
  uint16_t bits;
};

inline float load(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline void store(bfloat16& place, float x) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  place.bits = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// e^x for x ≤ 0, within 2e-7 of it. With x = n ln 2 + r and |r| ≤ ½ ln 2: e^x = 2^n e^r, by seven terms of its series.
// What would be less than 2^-125 is that; NaN stays NaN.
inline float exponential(float x) {
  x = x < -86.6f ? -86.6f : x;
  const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // 1.5 · 2^23: the sum has no place for a fraction
  float r = x - n * 0.693359375f;
  r += n * 2.12194440e-4f;  // ln 2 in two parts, the first with few digits, so that the difference is exact
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return series * power;
}

// A row's −ln p[target], where p is the softmax of the row; with `learns`, the row becomes p − onehot(target).
// `terms` has room for the row.
template <typename T>
float score(T* row, int64_t vocabulary, int64_t target, bool learns, float* terms) {
  float highest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : highest)
  for (int64_t k = 0; k < vocabulary; ++k) {
    const float x = load(row[k]);
    highest = x > highest ? x : highest;
  }
  double total = 0.0;
  for (int64_t from = 0; from < vocabulary; from += tile) {
    const int64_t end = from + tile < vocabulary ? from + tile : vocabulary;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = from; k < end; ++k) sum += terms[k] = exponential(load(row[k]) - highest);
    total += sum;
  }
  const float loss = static_cast<float>(std::log(total) + highest - load(row[target]));
  if (learns) {
    const float scale = static_cast<float>(1.0 / total);
#pragma omp simd
    for (int64_t k = 0; k < vocabulary; ++k) store(row[k], terms[k] * scale);
    store(row[target], std::expm1(-loss));  // p − 1, exact near p = 1
  }
  return loss;
}

template <typename T>
void score_all(T* logits, const int64_t* targets, int64_t rows, int64_t vocabulary, int64_t ignored, bool learns,
               int64_t threads, float* losses) {
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> terms(vocabulary);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < rows; ++i) {
      T* row = logits + i * vocabulary;
      if (targets[i] != ignored) {
        losses[i] = score(row, vocabulary, targets[i], learns, terms.data());
      } else {
        losses[i] = 0.0f;
        if (learns) std::memset(row, 0, vocabulary * sizeof(T));
      }
    }
  }
}

}  // namespace

// logits: (rows, vocabulary); targets: (rows,), each `ignored` or below `vocabulary`; losses: (rows,), written.
extern "C" void cross_entropy_float32(float* logits, const int64_t* targets, int64_t rows, int64_t vocabulary,
                                      int64_t ignored, bool learns, int64_t threads, float* losses) {
  score_all(logits, targets, rows, vocabulary, ignored, learns, threads, losses);
}

extern "C" void cross_entropy_bfloat16(bfloat16* logits, const int64_t* targets, int64_t rows, int64_t vocabulary,
                                       int64_t ignored, bool learns, int64_t threads, float* losses) {
  score_all(logits, targets, rows, vocabulary, ignored, learns, threads, losses);
}

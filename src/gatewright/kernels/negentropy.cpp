// Σ m log2 m for the means m of all pairs of rows, as the JSD gate needs it. Built by gatewright.kernels.native.

#include <cstdint>
#include <cstring>
#include <limits>

namespace {

constexpr int64_t tile = 1024;  // tokens whose terms are added in float32; a few rows of them stay in the first cache
constexpr float tiny = std::numeric_limits<float>::min();  // added to m, since 0 ln 0 is 0

// x log2 x for normal x > 0. With x = 2^e (1 + f) and f in [√½ − 1, √2 − 1], log2 x = e + f Q(f); Q interpolates
// log2(1 + f) / f at the Chebyshev nodes, within 2e-7 of it.
inline float x_log2_x(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const int32_t exponent = (bits - 0x3f3504f3) >> 23;
  bits -= exponent << 23;
  float f;
  std::memcpy(&f, &bits, sizeof f);
  f -= 1.0f;
  float q = -0.14275974035263062f;
  q = q * f + 0.23265257477760315f;
  q = q * f - 0.24927182495594025f;
  q = q * f + 0.2872888743877411f;
  q = q * f - 0.3602251708507538f;
  q = q * f + 0.48091670870780945f;
  q = q * f - 0.7213529348373413f;
  q = q * f + 1.4426950216293335f;
  return x * (static_cast<float>(exponent) + f * q);
}

}  // namespace

// p: (groups, n, vocabulary), distributions. total: (groups, threads, n, n), all 0; each thread takes a share of the
// tokens and adds to its own, for i ≤ j. GNU's OpenMP is the one that torch has loaded: its threads wait there already.
extern "C" void mean_negentropy(const float* p, int64_t groups, int64_t n, int64_t vocabulary, int64_t threads,
                                double* total) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int64_t thread = 0; thread < threads; ++thread) {
    const int64_t begin = vocabulary * thread / threads, end = vocabulary * (thread + 1) / threads;
    for (int64_t group = 0; group < groups; ++group) {
      const float* rows = p + group * n * vocabulary;
      double* own = total + (group * threads + thread) * n * n;
      for (int64_t from = begin; from < end; from += tile) {
        const int64_t length = end - from < tile ? end - from : tile;
        for (int64_t i = 0; i < n; ++i) {
          const float* a = rows + i * vocabulary + from;
          for (int64_t j = i; j < n; ++j) {
            const float* b = rows + j * vocabulary + from;
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < length; ++k) sum += x_log2_x(0.5f * (a[k] + b[k]) + tiny);
            own[i * n + j] += sum;
          }
        }
      }
    }
  }
}

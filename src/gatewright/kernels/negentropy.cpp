// Σ m log2 m for the means m of all pairs of rows, as the JSD gate needs it. Built by gatewright.kernels.native.

#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t tile = 1024;  // tokens whose terms are added in float32; a few rows of them stay in the first cache

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

// half: (n, stride), half the probabilities of tokens begin to end, each more than 0. total: (n, n), added to for i ≤ j.
extern "C" void mean_negentropy(const float* half, int64_t n, int64_t stride, int64_t begin, int64_t end, double* total) {
  for (int64_t from = begin; from < end; from += tile) {
    const int64_t length = end - from < tile ? end - from : tile;
    for (int64_t i = 0; i < n; ++i) {
      const float* a = half + i * stride + from;
      for (int64_t j = i; j < n; ++j) {
        const float* b = half + j * stride + from;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t k = 0; k < length; ++k) sum += x_log2_x(a[k] + b[k]);
        total[i * n + j] += sum;
      }
    }
  }
}

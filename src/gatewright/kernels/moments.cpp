// Σ x² and Σ x over many tensors in one pass. Built by gatewright.kernels.native.

#include <cstdint>
#include <vector>

namespace {

constexpr int64_t tile = 16384;  // numbers that are added in float32; the sums of tiles are added in order, in float64

struct Tile {
  const float* begin;
  int64_t size;
  double sum, squares;
};

}  // namespace

// sizes: (count,), numbers of each tensor; moments: (2,), written. The number of threads does not change the result.
extern "C" void moments(const float* const* tensors, const int64_t* sizes, int64_t count, int64_t threads,
                        double* moments) {
  std::vector<Tile> tiles;
  for (int64_t i = 0; i < count; ++i)
    for (int64_t from = 0; from < sizes[i]; from += tile)
      tiles.push_back({tensors[i] + from, sizes[i] - from < tile ? sizes[i] - from : tile, 0.0, 0.0});
  const int64_t number = static_cast<int64_t>(tiles.size());
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < number; ++i) {
    const float* x = tiles[i].begin;
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum, squares)
    for (int64_t k = 0; k < tiles[i].size; ++k) {
      sum += x[k];
      squares += x[k] * x[k];
    }
    tiles[i].sum = sum;
    tiles[i].squares = squares;
  }
  moments[0] = moments[1] = 0.0;
  for (const Tile& each : tiles) {
    moments[0] += each.squares;
    moments[1] += each.sum;
  }
}

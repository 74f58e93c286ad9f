#include "jobs/replay/ffn.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <stdexcept>

#ifdef BALLAST_WITH_OPENBLAS
#include <cblas.h>
#endif

namespace ballast {
namespace {

constexpr std::int64_t exact_max = 1 << 24;

#ifdef BALLAST_WITH_OPENBLAS
// c [m][n] = a [m][k] * transpose(b [n][k])
void multiply_transposed(int m, int n, int k, const float* a, const float* b, float* c) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, a, k, b, k, 0.0f, c, n);
}
#else
void multiply_transposed(int, int, int, const float*, const float*, float*) {}
#endif

std::vector<int> offsets_of(const std::vector<int>& counts) {
  std::vector<int> offsets(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), 0);
  return offsets;
}

std::vector<int> times(std::vector<int> counts, int factor) {
  for (int& count : counts) count *= factor;
  return counts;
}

}  // namespace

std::vector<std::size_t> ffn_tensor_bytes(ffn_shape shape) {
  const std::size_t bytes = sizeof(float) * shape.hidden * shape.intermediate;
  return {bytes, bytes, bytes};
}

void check_ffn_shape(ffn_shape shape) {
  const std::int64_t first = std::int64_t{activation_max} * shape.hidden;
  if (first * first > exact_max ||
      static_cast<std::int64_t>(inner_max) * shape.intermediate * 64 > exact_max) {
    throw std::invalid_argument(fmt::format(
        "--ffn-hidden {} or --ffn-intermediate {}: sums would leave float's exact range",
        shape.hidden, shape.intermediate));
  }
}

bool has_openblas() {
#ifdef BALLAST_WITH_OPENBLAS
  return true;
#else
  return false;
#endif
}

expert_ffn::expert_ffn(const collectives& all_ranks, ffn_shape shape, int rows_per_rank)
    : all_ranks_(all_ranks), shape_(shape), rows_per_rank_(rows_per_rank) {
  MPI_Comm_rank(all_ranks.comm(), &rank_);
  MPI_Comm_size(all_ranks.comm(), &ranks_);
#ifdef BALLAST_WITH_OPENBLAS
  openblas_set_num_threads(1);  // the ranks share the cores
#endif
}

void expert_ffn::run(const replay_weights& weights, int layer, std::int64_t step,
                     std::span<const std::int32_t> slots, int columns,
                     std::vector<float>& outputs) {
  const int hidden = shape_.hidden;
  std::vector<int> to_rank(ranks_, 0);
  for (const std::int32_t slot : slots) {
    if (slot >= 0) ++to_rank[slot / rows_per_rank_];
  }
  std::vector<int> from_rank(ranks_);
  all_ranks_.exchange_counts(to_rank, from_rank);
  const std::vector<int> to_offset = offsets_of(to_rank);
  const std::vector<int> from_offset = offsets_of(from_rank);
  const std::size_t sending = std::accumulate(to_rank.begin(), to_rank.end(), std::size_t{0});
  const std::size_t receiving = std::accumulate(from_rank.begin(), from_rank.end(), std::size_t{0});

  sent_.resize(sending * hidden);
  sent_rows_.resize(sending);
  std::vector<int> next = to_offset;
  std::vector<std::int32_t> position(slots.size(), -1);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] < 0) continue;
    position[i] = next[slots[i] / rows_per_rank_]++;
    sent_rows_[position[i]] = slots[i] % rows_per_rank_;
    for (int h = 0; h < hidden; ++h) {
      sent_[static_cast<std::size_t>(position[i]) * hidden + h] =
          activation_of(step, layer, rank_, static_cast<std::int64_t>(i) / columns, h);
    }
  }
  received_.resize(receiving * hidden);
  received_rows_.resize(receiving);
  all_ranks_.exchange(sent_rows_.data(), {to_rank, to_offset}, received_rows_.data(),
                      {from_rank, from_offset}, MPI_INT32_T);
  const std::vector<int> to_floats = times(to_rank, hidden);
  const std::vector<int> to_float = times(to_offset, hidden);
  const std::vector<int> from_floats = times(from_rank, hidden);
  const std::vector<int> from_float = times(from_offset, hidden);
  all_ranks_.exchange(sent_.data(), {to_floats, to_float}, received_.data(),
                      {from_floats, from_float}, MPI_FLOAT);
  const auto start = std::chrono::steady_clock::now();
  multiply(weights, layer);
  seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  returned_.resize(sending * hidden);
  all_ranks_.exchange(results_.data(), {from_floats, from_float}, returned_.data(),
                      {to_floats, to_float}, MPI_FLOAT);

  outputs.assign(slots.size() / columns * hidden, 0.0f);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (position[i] < 0) continue;
    const float weight = static_cast<float>(i % columns + 1);
    for (int h = 0; h < hidden; ++h) {
      outputs[i / columns * hidden + h] +=
          weight * returned_[static_cast<std::size_t>(position[i]) * hidden + h];
    }
  }
}

// results_[i] = FFN of received_[i] by the expert in row received_rows_[i], one product per expert.
void expert_ffn::multiply(const replay_weights& weights, int layer) {
  const int hidden = shape_.hidden;
  const int wide = shape_.intermediate;
  results_.resize(received_.size());
  std::vector<std::int32_t> order(received_rows_.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::int32_t i) { return received_rows_[i]; });
  std::vector<float> x, gate, up, y;
  for (std::size_t begin = 0; begin < order.size();) {
    const std::int32_t row = received_rows_[order[begin]];
    std::size_t end = begin;
    while (end < order.size() && received_rows_[order[end]] == row) ++end;
    const int m = static_cast<int>(end - begin);
    x.resize(static_cast<std::size_t>(m) * hidden);
    gate.resize(static_cast<std::size_t>(m) * wide);
    up.resize(gate.size());
    y.resize(x.size());
    for (int i = 0; i < m; ++i) {
      std::copy_n(received_.begin() + static_cast<std::ptrdiff_t>(order[begin + i]) * hidden,
                  hidden, x.begin() + i * hidden);
    }
    const auto tensor = [&](int t) {
      return reinterpret_cast<const float*>(weights.address(layer, t, row));
    };
    multiply_transposed(m, wide, hidden, x.data(), tensor(0), gate.data());
    multiply_transposed(m, wide, hidden, x.data(), tensor(1), up.data());
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = inner_of(gate[i], up[i]);
    multiply_transposed(m, hidden, wide, gate.data(), tensor(2), y.data());
    for (int i = 0; i < m; ++i) {
      std::copy_n(y.begin() + i * hidden, hidden,
                  results_.begin() + static_cast<std::ptrdiff_t>(order[begin + i]) * hidden);
    }
    begin = end;
  }
}

}  // namespace ballast

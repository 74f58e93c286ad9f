#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/record.hpp"
#include "kernels/record_rule.hpp"

namespace ballast {
namespace {

// Bin b of lane l is bins[lanes * b + l]: equal neighbouring ids do not wait for each other's
// store.
constexpr std::uint64_t lanes = 2;

// Ids that lie in memory are asked for this far ahead: the processor's own prefetching stops at
// every page.
constexpr std::uintptr_t bytes_ahead = 4096;

// One increment an id, of which a core retires about one a cycle: that bounds it, so the ids that
// are out of range, rare or in one run at the end, must cost the others no more than one branch for
// four of them.
template <typename Id>
void count(const Id* ids, std::int64_t n, std::uint64_t experts, std::uint32_t* bins) {
  using word = std::make_unsigned_t<Id>;
  const auto limit = static_cast<word>(experts);
  std::uint32_t* of_experts = bins + lanes;
  const auto with_care = [&](std::int64_t i) {
    ++bins[std::uint64_t{record_bin<Id>(ids[i], limit)} * lanes + i % lanes];
  };
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const std::uintptr_t ahead = reinterpret_cast<std::uintptr_t>(ids + i) + bytes_ahead;
    __builtin_prefetch(reinterpret_cast<const void*>(ahead));
    const auto a = static_cast<word>(ids[i]);
    const auto b = static_cast<word>(ids[i + 1]);
    const auto c = static_cast<word>(ids[i + 2]);
    const auto d = static_cast<word>(ids[i + 3]);
    if ((a >= limit) | (b >= limit) | (c >= limit) | (d >= limit)) [[unlikely]] {
      for (int j = 0; j < 4; ++j) with_care(i + j);
      continue;
    }
    ++of_experts[a * lanes];
    ++of_experts[b * lanes + 1];
    ++of_experts[c * lanes];
    ++of_experts[d * lanes + 1];
  }
  for (; i < n; ++i) with_care(i);
}

std::int64_t fold(std::span<std::int64_t> counts, std::uint32_t* bins) {
  const auto take = [bins](std::size_t bin) {
    std::int64_t sum = 0;
    for (std::uint64_t lane = 0; lane < lanes; ++lane) sum += bins[bin * lanes + lane];
    return sum;
  };
  for (std::size_t e = 0; e < counts.size(); ++e) counts[e] += take(e + 1);
  const std::int64_t outside = take(counts.size() + 1);
  std::fill(bins, bins + lanes * (counts.size() + 2), 0u);
  return outside;
}

// Few ids: adding them one by one is cheaper than folding the histograms.
template <typename Id>
std::int64_t count_directly(const Id* ids, std::int64_t n, std::span<std::int64_t> counts) {
  std::int64_t outside = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto id = static_cast<std::int64_t>(ids[i]);
    if (id >= 0 && id < static_cast<std::int64_t>(counts.size())) {
      ++counts[id];
    } else {
      outside += id != -1;
    }
  }
  return outside;
}

template <typename Id>
std::int64_t record(const id_matrix& m, std::span<std::int64_t> counts, std::uint32_t* scratch) {
  const auto* ids = static_cast<const Id*>(m.ids);
  const std::int64_t rows = std::min(m.tokens, m.valid_tokens);
  const std::int64_t counted = m.columns - m.shared_columns;
  const bool few = rows * counted < 4 * static_cast<std::int64_t>(counts.size());
  // The histograms hold 32 bits: fold before a bin can overflow.
  constexpr std::int64_t fold_after = std::int64_t{1} << 30;
  std::int64_t outside = 0;
  std::int64_t pending = 0;
  const std::int64_t run = m.shared_columns == 0 ? rows * counted : counted;
  const std::int64_t runs = m.shared_columns == 0 ? 1 : rows;
  for (std::int64_t r = 0; r < runs; ++r) {
    const Id* begin = ids + r * m.columns;
    if (few) {
      outside += count_directly(begin, run, counts);
      continue;
    }
    for (std::int64_t done = 0; done < run; done += fold_after) {
      const std::int64_t n = std::min(fold_after, run - done);
      count(begin + done, n, counts.size(), scratch);
      pending += n;
      if (pending >= fold_after) {
        outside += fold(counts, scratch);
        pending = 0;
      }
    }
  }
  return outside + (pending > 0 ? fold(counts, scratch) : 0);
}

}  // namespace

std::int64_t record_host(const id_matrix& ids, std::span<std::int64_t> counts,
                         std::span<std::uint32_t> scratch) {
  return ids.is_int64 ? record<std::int64_t>(ids, counts, scratch.data())
                      : record<std::int32_t>(ids, counts, scratch.data());
}

}  // namespace ballast

#include <algorithm>

#include "kernels/record.hpp"
#include "kernels/record_rule.hpp"

namespace ballast {
namespace {

template <typename Id>
void count(const Id* ids, std::int64_t n, std::uint64_t experts, std::uint32_t* bins) {
  const std::uint64_t stride = experts + 2;
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    ++bins[record_bin<Id>(ids[i], experts)];
    ++bins[stride + record_bin<Id>(ids[i + 1], experts)];
    ++bins[2 * stride + record_bin<Id>(ids[i + 2], experts)];
    ++bins[3 * stride + record_bin<Id>(ids[i + 3], experts)];
  }
  for (; i < n; ++i) ++bins[record_bin<Id>(ids[i], experts)];
}

std::int64_t fold(std::span<std::int64_t> counts, std::uint32_t* bins) {
  const std::size_t stride = counts.size() + 2;
  for (std::size_t e = 0; e < counts.size(); ++e) {
    counts[e] += static_cast<std::int64_t>(bins[e + 1]) + bins[stride + e + 1] +
                 bins[2 * stride + e + 1] + bins[3 * stride + e + 1];
  }
  std::int64_t outside = 0;
  for (int lane = 0; lane < 4; ++lane) outside += bins[(lane + 1) * stride - 1];
  std::fill(bins, bins + 4 * stride, 0u);
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

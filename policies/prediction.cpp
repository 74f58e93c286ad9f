#include "policies/prediction.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>

namespace ballast {

namespace {

__extension__ typedef __int128 wide;

// Loads of a layer are compared as parts of the layer's tokens: 2^30 is all of them. Then the sum
// of a layer's squared differences fits 63 bits.
constexpr int part_bits = 30;
constexpr std::int64_t layer_sum_max = std::int64_t{1} << 62;
constexpr std::array<int, 6> spans = {1, 2, 4, 8, 16, 32};
constexpr std::size_t span_count = spans.size();
constexpr int blend_one = 16;
constexpr int jump_ratio = 5;
constexpr int growth_max = 3;  // a deviation grows at most so much with its expert's load

constexpr std::array<const char*, 4> names = {"auto", "sum", "decay", "robust"};

/// Of the means over two spans: part / 16 of the first, the rest of the second. Or the last window
/// and trend / 16 of the last change once more.
struct blend {
  int first_span = 1;
  int second_span = 1;
  int part = blend_one;
  int trend = 0;
};

// Of the errors of each span's mean, and last of the change before.
using square_sums = std::array<std::array<wide, span_count + 1>, span_count + 1>;

/// The series as parts of each layer's tokens, and sums over windows of them.
class past {
 public:
  explicit past(const series_view& series)
      : layers_(series.layers),
        experts_(series.experts),
        cells_(static_cast<std::size_t>(series.layers) * static_cast<std::size_t>(series.experts)),
        windows_(static_cast<int>(series.loads.size() / cells_)),
        sums_((static_cast<std::size_t>(windows_) + 1) * cells_, 0),
        jumps_(static_cast<std::size_t>(windows_), 0),
        reach_(static_cast<std::size_t>(windows_), 0),
        tokens_(static_cast<std::size_t>(layers_), 0) {
    for (int window = 0; window < windows_; ++window) {
      for (int layer = 0; layer < layers_; ++layer) add(series.loads, window, layer);
    }
  }

  int windows() const { return windows_; }
  int layers() const { return layers_; }
  int experts() const { return experts_; }
  std::size_t cells() const { return cells_; }
  /// How many jumps in a row led to it; more than two count as two.
  int jumps(int window) const { return jumps_[window]; }
  std::int64_t tokens(int layer) const { return tokens_[layer]; }

  /// What expert `cell` had in a window.
  std::int64_t at(int window, std::size_t cell) const {
    return sums_[(window + 1) * cells_ + cell] - sums_[window * cells_ + cell];
  }

  /// Its mean over the `span` windows up to `window`, or as many as memory reaches back.
  std::int64_t mean(int window, int span, std::size_t cell) const {
    const int count = std::min(span, reach_[window]);
    return (sums_[(window + 1) * cells_ + cell] - sums_[(window + 1 - count) * cells_ + cell]) /
           count;
  }

  /// What it had more than in the window before.
  std::int64_t change(int window, std::size_t cell) const {
    return window > 0 ? at(window, cell) - at(window - 1, cell) : 0;
  }

  std::int64_t foretold(int window, const blend& rule, std::size_t cell) const {
    const std::int64_t parts = rule.part * mean(window, rule.first_span, cell) +
                               (blend_one - rule.part) * mean(window, rule.second_span, cell) +
                               rule.trend * change(window, cell);
    return std::max<std::int64_t>(parts, 0) / blend_one;
  }

  /// Memory of all there is.
  void keep_all() {
    for (int window = 0; window < windows_; ++window) reach_[window] = window + 1;
  }

  /// Finds the jumps and cuts memory at them.
  void find_jumps() {
    std::vector<wide> changes;
    for (int window = 1; window < windows_; ++window) changes.push_back(change(window));
    std::vector<wide> sorted = changes;
    std::sort(sorted.begin(), sorted.end());
    for (int window = 0; window < windows_; ++window) {
      const bool jumped =
          window > 0 && changes[window - 1] > jump_ratio * sorted[(sorted.size() - 1) / 2];
      jumps_[window] = jumped ? std::min(jumps_[window - 1] + 1, 2) : 0;
      reach_[window] = window == 0 || jumped ? 1 : reach_[window - 1] + 1;
    }
  }

 private:
  /// An idle layer is taken to be as it was in the window before.
  void add(std::span<const std::int64_t> loads, int window, int layer) {
    const std::size_t first = static_cast<std::size_t>(layer) * experts_;
    const auto now = loads.subspan(window * cells_ + first, experts_);
    std::int64_t total = 0;
    for (const std::int64_t load : now) total += load;
    if (total > 0) tokens_[layer] = total;
    for (std::size_t expert = 0; expert < now.size(); ++expert) {
      const std::size_t cell = first + expert;
      const std::int64_t before = window > 0 ? at(window - 1, cell) : 0;
      const std::int64_t part =
          total > 0
              ? static_cast<std::int64_t>((static_cast<wide>(now[expert]) << part_bits) / total)
              : before;
      sums_[(window + 1) * cells_ + cell] = sums_[window * cells_ + cell] + part;
    }
  }

  wide change(int window) const {
    wide sum = 0;
    for (std::size_t cell = 0; cell < cells_; ++cell) {
      const std::int64_t by = change(window, cell);
      sum += static_cast<wide>(by) * by;
    }
    return sum;
  }

  int layers_;
  int experts_;
  std::size_t cells_;
  int windows_;
  std::vector<std::int64_t> sums_;    // [windows + 1, cells] of parts, over windows before
  std::vector<std::int32_t> jumps_;   // [windows]
  std::vector<std::int32_t> reach_;   // [windows] how many windows back memory goes from it
  std::vector<std::int64_t> tokens_;  // [layers] of the newest window that was not idle
};

/// Adds the products of the errors that each two spans made in foretelling `window` + 1, and those
/// with the change that led to `window`.
void add_errors(const past& series, int window, square_sums& sums) {
  const auto experts = static_cast<std::size_t>(series.experts());
  constexpr std::size_t count = span_count + 1;
  std::array<std::array<std::int64_t, count>, count> products;
  for (std::size_t first = 0; first < series.cells(); first += experts) {
    products = {};
    for (std::size_t cell = first; cell < first + experts; ++cell) {
      const std::int64_t came = series.at(window + 1, cell);
      std::array<std::int64_t, count> error;
      for (std::size_t a = 0; a < span_count; ++a)
        error[a] = came - series.mean(window, spans[a], cell);
      error[span_count] = series.change(window, cell);
      for (std::size_t a = 0; a < count; ++a) {
        for (std::size_t b = 0; b <= a; ++b) products[a][b] += error[a] * error[b];
      }
    }
    for (std::size_t a = 0; a < count; ++a) {
      for (std::size_t b = 0; b <= a; ++b) sums[a][b] += products[a][b];
    }
  }
}

/// The blend that would have had the least squared error after the `situations`; the one with the
/// shortest memory if several.
blend best_blend(const past& series, const std::vector<std::int32_t>& situations) {
  square_sums sums = {};
  for (const std::int32_t window : situations) add_errors(series, window, sums);
  blend best;
  wide least = sums[0][0] * blend_one * blend_one;
  const auto take = [&](wide error, const blend& rule) {
    if (error >= least) return;
    least = error;
    best = rule;
  };
  for (std::size_t a = 0; a < span_count; ++a) {
    for (std::size_t b = a + 1; b < span_count; ++b) {
      for (int part = blend_one - 1; part >= 0; --part) {
        const wide rest = blend_one - part;
        take(part * part * sums[a][a] + 2 * part * rest * sums[b][a] + rest * rest * sums[b][b],
             {spans[a], spans[b], part, 0});
      }
    }
  }
  const auto& with_change = sums[span_count];
  for (int trend = 1; trend <= blend_one; ++trend) {
    take(blend_one * blend_one * sums[0][0] - 2 * blend_one * trend * with_change[0] +
             trend * trend * with_change[span_count],
         {1, 1, blend_one, trend});
  }
  return best;
}

std::int64_t to_tokens(std::int64_t parts, std::int64_t tokens) {
  const wide scaled = static_cast<wide>(parts) * tokens;
  const wide one = wide{1} << part_bits;
  return static_cast<std::int64_t>((scaled + (scaled < 0 ? -one : one) / 2) / one);
}

/// The forecast of a rule, and how it would have done after the `situations`, ascending. Where it
/// counts on a trend, one more sample says that the trend stops: a plan that is even in both cases
/// costs little, and a trend is a guess.
forecast apply(const past& series, const blend& rule, const std::vector<std::int32_t>& situations) {
  const std::size_t cells = series.cells();
  const auto experts = static_cast<std::size_t>(series.experts());
  blend without_trend = rule;
  without_trend.trend = 0;
  const std::size_t samples =
      std::min<std::size_t>(situations.size(), deviation_samples_max - (rule.trend > 0 ? 1 : 0));
  const auto tokens = [&](std::int64_t parts, std::size_t cell) {
    return to_tokens(parts, series.tokens(static_cast<int>(cell / experts)));
  };
  forecast result;
  result.loads.resize(cells);
  result.deviations.resize(samples * cells);
  for (std::size_t cell = 0; cell < cells; ++cell) {
    const std::int64_t now = series.foretold(series.windows() - 1, rule, cell);
    result.loads[cell] = tokens(now, cell);
    for (std::size_t sample = 0; sample < samples; ++sample) {
      const std::int32_t window = situations[situations.size() - 1 - sample];
      const std::int64_t foretold = series.foretold(window, rule, cell);
      std::int64_t off = series.at(window + 1, cell) - foretold;
      if (foretold > 0) {
        off = static_cast<std::int64_t>(static_cast<wide>(off) *
                                        std::min(now, growth_max * foretold) / foretold);
      }
      result.deviations[sample * cells + cell] = tokens(off, cell);
    }
  }
  if (rule.trend == 0) return result;
  for (std::size_t cell = 0; cell < cells; ++cell) {
    const std::int64_t stays = series.foretold(series.windows() - 1, without_trend, cell);
    result.deviations.push_back(tokens(stays, cell) - result.loads[cell]);
  }
  return result;
}

forecast predict_automatically(past& series) {
  series.find_jumps();
  const int last = series.windows() - 1;
  std::vector<std::int32_t> alike, calm;
  for (int window = 0; window < last; ++window) {
    const bool jump_follows = series.jumps(window + 1) > 0;
    if (series.jumps(window) == 0 && !jump_follows) calm.push_back(window);
    if (series.jumps(window) == series.jumps(last)) alike.push_back(window);
  }
  // In calm times a jump cannot be foreseen, and planning for it would spoil all other windows.
  if (series.jumps(last) == 0 || alike.empty()) alike = calm;
  return apply(series, best_blend(series, alike), alike);
}

forecast mean_of_all(past& series) {
  series.keep_all();
  std::vector<std::int32_t> all;
  for (int window = 0; window + 1 < series.windows(); ++window) all.push_back(window);
  return apply(series, {series.windows(), series.windows(), blend_one}, all);
}

forecast sum_of_all(const series_view& series) {
  const std::size_t cells = static_cast<std::size_t>(series.layers) * series.experts;
  const std::size_t windows = series.loads.size() / cells;
  std::vector<wide> sums(cells, 0);
  for (std::size_t i = 0; i < series.loads.size(); ++i) sums[i % cells] += series.loads[i];
  const int shift = static_cast<int>(std::bit_width(windows - 1));
  bool fits = true;
  for (std::size_t first = 0; first < cells; first += series.experts) {
    wide layer = 0;
    for (int expert = 0; expert < series.experts; ++expert) layer += sums[first + expert];
    fits = fits && layer <= layer_sum_max;
  }
  forecast result;
  for (const wide sum : sums) {
    result.loads.push_back(static_cast<std::int64_t>(fits ? sum : sum >> shift));
  }
  return result;
}

forecast decayed(const series_view& series, int shift) {
  const std::size_t cells = static_cast<std::size_t>(series.layers) * series.experts;
  std::vector<wide> level(cells);  // 2^shift of a window's load
  for (std::size_t cell = 0; cell < cells; ++cell)
    level[cell] = static_cast<wide>(series.loads[cell]) << shift;
  for (std::size_t i = cells; i < series.loads.size(); ++i) {
    wide& now = level[i % cells];
    now += series.loads[i] - (now >> shift);
  }
  forecast result;
  for (const wide now : level) result.loads.push_back(static_cast<std::int64_t>(now >> shift));
  return result;
}

}  // namespace

const char* prediction_mode_name(int index) {
  return index >= 0 && index < static_cast<int>(names.size()) ? names[index] : nullptr;
}

forecast predict(const series_view& series, const prediction_settings& settings) {
  const std::size_t cells = static_cast<std::size_t>(std::max(series.layers, 0)) *
                            static_cast<std::size_t>(std::max(series.experts, 0));
  if (cells == 0 || series.loads.empty() || series.loads.size() % cells != 0) {
    throw std::invalid_argument("series: " + std::to_string(series.loads.size()) + " values for " +
                                std::to_string(series.layers) + " layers of " +
                                std::to_string(series.experts) + " experts");
  }
  series_view used = series;
  const bool cut =
      settings.mode == prediction_mode::sum || settings.mode == prediction_mode::robust;
  if (cut && settings.windows > 0) {
    const std::size_t most = cells * static_cast<std::size_t>(settings.windows);
    used.loads = used.loads.last(std::min(most, used.loads.size()));
  }
  if (settings.mode == prediction_mode::sum) return sum_of_all(used);
  if (settings.mode == prediction_mode::decay) {
    return decayed(used, std::clamp(settings.decay_shift, 1, 16));
  }
  past windows(used);
  return settings.mode == prediction_mode::robust ? mean_of_all(windows)
                                                  : predict_automatically(windows);
}

}  // namespace ballast

#pragma once
// From the windows of the past to the loads of the next one, and how far off such a forecast has
// been: what a plan is made for is the window after the last. Pure, in integers.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ballast {

enum class prediction_mode : std::uint8_t {
  automatic,  ///< the memory that would have foretold the series best; with deviations
  sum,        ///< the sum of the last windows
  decay,      ///< exponential: each window counts (2^shift - 1) / 2^shift of the one after it
  robust      ///< the mean of the last windows; with deviations
};

/// "auto", "sum", "decay", "robust"; null past the last.
const char* prediction_mode_name(int index);

struct prediction_settings {
  prediction_mode mode = prediction_mode::automatic;
  std::int32_t windows = 0;      ///< `sum` and `robust`: at most so many of the last; 0: all given
  std::int32_t decay_shift = 1;  ///< `decay`: 1..16
};

struct series_view {
  std::span<const std::int64_t> loads;  ///< [windows, layers, experts], oldest first, each in
                                        ///< [0, 2^62], the sum of a layer in a window too
  int layers = 0;
  int experts = 0;
};

struct forecast {
  std::vector<std::int64_t> loads;  ///< [layers, experts], tokens, of the next window; `sum`: of
                                    ///< all windows (a power of two less where that is above 2^62)
  /// [samples, layers, experts], tokens: by how much windows that followed situations like the
  /// present one differed from the forecast that the same rule makes for them, newest first and in
  /// proportion to today's load; then, if the forecast goes on with the last change, how much less
  /// it would be without that. At most deviation_samples_max of them; none where there is nothing
  /// to compare, and for `sum` and `decay`.
  std::vector<std::int64_t> deviations;
};

inline constexpr int deviation_samples_max = 16;

/// Of at least one window; throws std::invalid_argument if there is none or sizes do not match.
///
/// `automatic`: a transition from one window to the next whose squared change is above five times
/// the median is a jump (the traffic has changed), and memory does not reach back over a jump. The
/// forecast is the blend of two means over the last 1, 2, 4, ... 32 windows, in sixteenths, or the
/// last window and some sixteenths of the last change once more (traffic that takes two windows to
/// change shows half of it first): whichever has the least squared error over the past transitions
/// of the same kind, those after none, one or more jumps in a row. The same transitions give the
/// deviations.
forecast predict(const series_view& series, const prediction_settings& settings);

}  // namespace ballast

#pragma once
// Where the loads of a run come from, step by step: a recorded trace (trace.hpp) or a calibrated
// generator (generator.hpp). A step's counts are the tokens routed to every expert of every layer.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ballast {

/// No count, and no layer's sum of a step or of a window, is larger than this.
inline constexpr std::int64_t load_max = std::int64_t{1} << 62;

/// One thread at a time: `counts` may keep state between calls.
class load_source {
 public:
  virtual ~load_source() = default;

  virtual std::int32_t layers() const = 0;
  virtual std::int32_t experts() const = 0;
  virtual std::int32_t top_k() const = 0;  ///< experts a token chooses in a layer; 0 if unknown
  virtual std::int64_t steps() const = 0;  ///< at least 1

  /// Tokens of the step, before each is counted at top_k experts; 0 if unknown.
  virtual std::int64_t tokens_per_step(std::int64_t step) const = 0;

  /// The counts of one step. `out`: [layers][experts], overwritten. The same for a step whatever
  /// was asked before; ascending steps are fastest. Throws std::invalid_argument if the step is not
  /// in [0, steps) or the size of `out` is not layers * experts.
  virtual void counts(std::int64_t step, std::span<std::int64_t> out) = 0;

  /// One line for people: what it is, from where, its shape.
  virtual std::string describe() const = 0;

 protected:
  /// Throws what `counts` promises.
  void require_step(std::int64_t step, std::size_t out_size) const;
};

/// Steps first..last-1.
struct step_window {
  std::int64_t first = 0;
  std::int64_t last = 0;
  bool operator==(const step_window&) const = default;
};

/// Reads "A:B" (steps A to B-1); a missing A means 0, a missing B or an empty text all steps.
/// Throws std::invalid_argument unless 0 <= A < B <= steps, naming the text.
step_window parse_window(std::string_view text, std::int64_t steps);

/// Sums the counts of the window's steps. `sums`: [layers][experts], overwritten. Throws
/// std::invalid_argument if the window is empty or outside the source, the size of `sums` is wrong,
/// or a layer's sum passes load_max (layer and step named).
void sum_window(load_source& source, step_window window, std::span<std::int64_t> sums);

}  // namespace ballast

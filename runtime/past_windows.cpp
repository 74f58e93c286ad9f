#include "runtime/past_windows.hpp"

#include <fmt/format.h>

#include "runtime/error.hpp"
#include "runtime/guard.hpp"

namespace ballast {

std::vector<std::int64_t> read_past_windows(const given_windows& given) {
  constexpr std::int64_t most = std::int64_t{1} << 62;
  require_in_range("past_window_count", given.count, 0, 256);
  if ((given.count > 0) != (given.loads != nullptr)) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("past_window_count is {} and past_windows is {}, expected both or none",
                            given.count, given.loads == nullptr ? "NULL" : "given"));
  }
  const std::int64_t* load = given.loads;
  for (int window = 0; window < given.count; ++window) {
    for (int layer = 0; layer < given.layers; ++layer) {
      std::int64_t room = most;
      for (int expert = 0; expert < given.experts; ++expert, ++load) {
        if (*load >= 0 && *load <= room) {
          room -= *load;
          continue;
        }
        throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                    fmt::format("past_windows: window {}, layer {}, expert {} is {}, expected 0 to "
                                "2^62 and no more in a layer's sum",
                                window, layer, expert, *load));
      }
    }
  }
  return {given.loads, load};
}

}  // namespace ballast

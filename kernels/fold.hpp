#pragma once
// Folding the counts of a pass into the window of loads, which a captured graph cannot do by
// itself: it always counts into the same place, and the step decides afterwards whether the window
// listens.

#include <cstdint>
#include <span>

#include "kernels/device.hpp"

namespace ballast {

/// Adds pass[i] to window[i] and empties pass[i]. With decay_shift s in [1, 62] the window first
/// loses its 2^s-th part: window[i] -= window[i] >> s; with 0 it keeps everything. Sizes are equal,
/// all values >= 0.
void fold_host(std::span<std::int64_t> pass, std::span<std::int64_t> window, int decay_shift);

/// The same for `size` values on the device.
device_status fold_device(std::int64_t* pass, std::int64_t* window, std::int64_t size,
                          int decay_shift, device_stream stream);

}  // namespace ballast

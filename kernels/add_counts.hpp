#pragma once
// Adding counts that the engine has already (a dispatcher that knows how many tokens it received)
// to a layer's counters.

#include <cstdint>

#include "kernels/device.hpp"
#include "kernels/record.hpp"

namespace ballast {

/// Adds counts[i] to into.counts[i]; a negative one is left out and counted in *into.outside.
device_status add_counts_device(const std::int64_t* counts, const device_counts& into,
                                device_stream stream);

}  // namespace ballast

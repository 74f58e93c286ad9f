#pragma once
// The window after a pass, value by value, for fold_host.cpp and fold.cu.

#include <cstdint>

#include "kernels/host_device.hpp"

namespace ballast {

BALLAST_HOST_DEVICE inline std::int64_t folded(std::int64_t window, std::int64_t pass,
                                               int decay_shift) {
  return window - (decay_shift == 0 ? 0 : window >> decay_shift) + pass;
}

}  // namespace ballast

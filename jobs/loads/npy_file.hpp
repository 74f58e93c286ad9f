#pragma once
// Loads as NumPy reads them; trace.hpp reads them back.

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace ballast {

/// The bytes of a .npy file of little-endian int64: `loads` in C order, its size the product of
/// `shape` [windows, layers, experts].
std::string npy_text(std::array<std::int64_t, 3> shape, std::span<const std::int64_t> loads);

}  // namespace ballast

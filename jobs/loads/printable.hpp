#pragma once
// Text from outside (file names, fields, keys) made fit for a one-line message.

#include <string>
#include <string_view>

namespace ballast {

/// Replaces control characters and bytes that are not part of well-formed UTF-8 by '?', and cuts
/// what is longer than `bytes_max` (then ending in "...").
std::string printable(std::string_view text, std::size_t bytes_max = 200);

}  // namespace ballast

#include "jobs/move_limit.hpp"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

namespace ballast {
namespace {

/// All of `text` as a number, or -2.
std::int64_t whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() ? value : -2;
}

/// "12", "12.5": in tenths, or -1.
std::int64_t tenths(std::string_view text) {
  const std::size_t point = text.find('.');
  const std::int64_t whole = whole_number(text.substr(0, point));
  if (whole < 0 || whole > 100) return -1;
  if (point == text.npos) return whole * 10;
  const std::string_view decimal = text.substr(point + 1);
  if (decimal.size() != 1 || decimal[0] < '0' || decimal[0] > '9') return -1;
  return whole * 10 + (decimal[0] - '0');
}

}  // namespace

std::string move_limit::text() const {
  if (permille == 0) return moves < 0 ? "any" : std::to_string(moves);
  return permille % 10 == 0 ? fmt::format("{}%", permille / 10)
                            : fmt::format("{}.{}%", permille / 10, permille % 10);
}

std::string read_move_limit(const std::string& text, move_limit& limit) {
  const bool percent = !text.empty() && text.back() == '%';
  const std::int64_t value =
      percent ? tenths(std::string_view(text).substr(0, text.size() - 1)) : whole_number(text);
  const bool fits =
      percent ? value >= 1 && value <= 1000 : value >= -1 && value <= std::int64_t{1} << 62;
  if (!fits) {
    return fmt::format(
        "Value {} is neither a number of moves, -1 for any, nor 0.1% to 100% of a "
        "layer's slots",
        text);
  }
  limit = percent ? move_limit{-1, static_cast<std::int32_t>(value)} : move_limit{value, 0};
  return {};
}

}  // namespace ballast

#include "tests/fuzz/mutation.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace ballast::testing {

namespace {

constexpr std::array<std::string_view, 16> odd_numbers = {"-1",
                                                          "0",
                                                          "1",
                                                          "-0",
                                                          "1e308",
                                                          "1e-400",
                                                          "0.5",
                                                          "2147483647",
                                                          "2147483648",
                                                          "4294967296",
                                                          "4611686018427387904",
                                                          "9223372036854775807",
                                                          "9223372036854775808",
                                                          "18446744073709551616",
                                                          "-9223372036854775809",
                                                          "99999999999999999999999999999999"};
using namespace std::string_view_literals;
constexpr std::string_view odd_bytes = "[]{}\",:'()\\\n\0\xff\x80"sv;

std::size_t position(const std::string& text, generator& random) {
  return static_cast<std::size_t>(random.below(static_cast<std::int64_t>(text.size()) + 1));
}

std::size_t length(generator& random) {
  return static_cast<std::size_t>(random.below(random.below(4) == 0 ? 200 : 8)) + 1;
}

void replace_number(std::string& text, generator& random) {
  const std::size_t from = text.find_first_of("0123456789", position(text, random));
  if (from == std::string::npos) return;
  const std::size_t to = std::min(text.find_first_not_of("0123456789.eE+-", from), text.size());
  text.replace(from, to - from, odd_numbers[random.below(odd_numbers.size())]);
}

void mutate_once(std::string& text, generator& random) {
  const std::size_t at = position(text, random);
  switch (random.below(8)) {
    case 0:
      if (at < text.size()) text[at] = static_cast<char>(text[at] ^ 1 << random.below(8));
      break;
    case 1:
      if (at < text.size()) text[at] = static_cast<char>(random.below(256));
      break;
    case 2:
      text.erase(at, length(random));
      break;
    case 3:
      text.insert(at, text.substr(position(text, random), length(random)));
      break;
    case 4:
      text.resize(at);
      break;
    case 5: {
      const std::string moved = text.substr(at, length(random));
      text.erase(at, moved.size());
      text.insert(position(text, random), moved);
      break;
    }
    case 6:
      replace_number(text, random);
      break;
    default:
      text.insert(at, 1, odd_bytes[random.below(odd_bytes.size())]);
  }
}

}  // namespace

std::string mutated(std::string text, generator& random) {
  for (std::int64_t left = 1 + random.below(4); left > 0; --left) mutate_once(text, random);
  return text;
}

}  // namespace ballast::testing

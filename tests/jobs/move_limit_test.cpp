#include "jobs/move_limit.hpp"

#include <gtest/gtest.h>

#include <string>
#include <tuple>

namespace ballast {
namespace {

TEST(move_limit, is_a_number_or_a_part_of_the_slots) {
  const std::tuple<std::string, std::int64_t, std::string> cases[] = {
      {"-1", -1, "any"},
      {"0", 0, "0"},
      {"16", 16, "16"},
      {"12%", 34, "12%"},
      {"12.5%", 36, "12.5%"},
      {"0.1%", 0, "0.1%"},
      {"100%", 288, "100%"},
      {"100.0%", 288, "100%"},
      {"0.4%", 1, "0.4%"},
      {"4611686018427387904", std::int64_t{1} << 62, "4611686018427387904"}};
  for (const auto& [text, moves, again] : cases) {
    move_limit limit{7, 7};
    EXPECT_EQ(read_move_limit(text, limit), "") << text;
    EXPECT_EQ(limit.of(288), moves) << text;
    EXPECT_EQ(limit.text(), again);
  }
}

TEST(move_limit, rounds_down_and_does_not_overflow) {
  move_limit limit;
  ASSERT_EQ(read_move_limit("99.9%", limit), "");
  EXPECT_EQ(limit.of(1), 0);
  EXPECT_EQ(limit.of(1001), 999);
  EXPECT_EQ(limit.of(std::int64_t{16384} * 1024), 16760438);
}

TEST(move_limit, anything_else_is_refused_and_named) {
  for (const char* text :
       {"", "%", "-2", "x", "12 %", "0%", "0.0%", "100.1%", "101%", "-5%", "1.55%", "1.%", ".5%",
        "12%%", "5x", "4611686018427387905", "99999999999999999999"}) {
    move_limit limit{7, 0};
    EXPECT_NE(read_move_limit(text, limit).find("Value " + std::string(text) + " is neither"),
              std::string::npos)
        << text;
    EXPECT_EQ(limit.moves, 7) << text;
  }
}

}  // namespace
}  // namespace ballast

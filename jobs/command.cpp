#include "jobs/command.hpp"

#include <charconv>

#include "jobs/move_limit.hpp"

namespace ballast {

value_check at_least_one() { return range(1, std::int64_t{1} << 62); }
value_check at_least_zero() { return range(0, std::int64_t{1} << 62); }
value_check at_least_minus_one() { return range(-1, std::int64_t{1} << 62); }

option* take_move_limits(option* max_moves) {
  const auto why_wrong = [](const std::string& text) {
    move_limit limit;
    return read_move_limit(text, limit);
  };
  return max_moves->check(fulfilling(why_wrong, ""))->type_name("N|P%")->default_str("any");
}

// CLI11 takes what is larger for the largest.
value_check any_seed() {
  return fulfilling(
      [](const std::string& text) -> std::string {
        std::uint64_t value = 0;
        const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
        return code == std::errc() && end == text.data() + text.size()
                   ? ""
                   : "Value " + text + " not in range 0 to 18446744073709551615";
      },
      "UINT");
}

void add_objective_option(command& command, std::string& objective) {
  command
      .add_option("--objective", objective,
                  "What is evened out: tokens computed, or (for decoding bound by memory) "
                  "activations, the experts read in a pass")
      ->check(one_of({"tokens", "activations"}))
      ->capture_default_str();
}

void add_equal_shares_option(command& command, bool& equal_shares) {
  command.add_flag("--equal-shares", equal_shares,
                   "Policy flow splits tokens equally over an expert's replicas, as the others do");
}

void add_cold_start_option(command& command, bool& cold_start) {
  command.add_flag("--cold-start", cold_start,
                   "No weights are in place yet: policy flow makes every move that gains anything");
}

option* add_token_ns_option(command& command, std::int64_t& token_ns) {
  return command
      .add_option("--token-ns", token_ns,
                  "Nanoseconds that one more token on the fullest rank of a layer costs a step")
      ->check(range(std::int64_t{1}, std::int64_t{1'000'000'000}));
}

option* add_horizon_option(command& command, std::int64_t& horizon) {
  return command
      .add_option("--horizon", horizon,
                  "Steps in which moves must have paid off; else shares alone are planned anew")
      ->check(at_least_one());
}

}  // namespace ballast

#include "policies/plugin.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

class function_policy : public plugin_policy {
 public:
  explicit function_policy(std::function<void(placement&)> change) : change_(std::move(change)) {}
  void plan(const plan_request&, std::span<const std::int32_t>, placement& target) const override {
    change_(target);
  }

 private:
  std::function<void(placement&)> change_;
};

testing::scenario scene() {  // 0 1 2 | 3 4 0 | 1 2 3
  return testing::uniform_scenario({10, 20, 30, 40, 50}, 1, 5, 3, 3);
}

std::string refusal(
    const std::function<void(placement&)>& change,
    const std::function<void(plan_request&)>& limit = [](plan_request&) {}) {
  testing::scenario s = scene();
  const function_policy policy(change);
  s.get();
  s.request.policy = "mine";
  s.request.plugin = &policy;
  limit(s.request);
  try {
    make_plan(s.request);
    return "";
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
}

void put(placement& target, int slot, std::int32_t expert) {
  target.experts_of(0)[slot] = expert;
  set_equal_shares(target.experts_of(0), target.experts(), target.shares_of(0));
}

TEST(plugin, plans_that_break_a_rule_are_refused_by_name) {
  EXPECT_EQ(refusal([](placement&) {}), "");
  EXPECT_EQ(refusal([](placement& t) { put(t, 4, 2); }),
            "policy mine: layer 0 expert 4: is in no slot");
  EXPECT_EQ(refusal([](placement& t) { put(t, 0, 1); }),
            "policy mine: layer 0 slot 1: expert 1 is twice on rank 0");
  EXPECT_EQ(refusal([](placement& t) { t.shares_of(0)[0] -= 5; }),
            "policy mine: layer 0 expert 0: shares sum to 65531, not to 65536");
  EXPECT_EQ(refusal([](placement& t) { t.experts_of(0)[8] = 5; }),
            "policy mine: layer 0 slot 8: expert 5 is not in [-1, 5)");
  EXPECT_EQ(refusal([](placement& t) { put(t, 5, 1); },
                    [](plan_request& r) {
                      r.usable_slots = {3, 3, 2};
                    }),
            "policy mine: layer 0: rank 2 holds 3 experts in 2 usable slots");
  EXPECT_EQ(refusal([](placement& t) { put(t, 0, 4); },
                    [](plan_request& r) { r.limits.max_moves_per_layer = 0; }),
            "policy mine: layer 0: 1 moves, allowed are 0");
  EXPECT_EQ(refusal([](placement& t) { put(t, 0, 4); },
                    [](plan_request& r) {
                      r.limits.max_bytes_per_rank = 99;
                      r.expert_bytes = 100;
                    }),
            "policy mine: rank 0 would receive 1 experts of 100 bytes, allowed are 99 bytes");
}

TEST(plugin, what_it_throws_is_what_the_plan_throws) {
  testing::scenario s = scene();
  const function_policy policy([](placement&) { throw std::runtime_error("no idea"); });
  s.get();
  s.request.plugin = &policy;
  EXPECT_THROW(make_plan(s.request), std::runtime_error);
}

TEST(plugin, limits_it_is_not_told_of_keep_layers_back) {
  testing::scenario s = scene();
  const function_policy policy([](placement& t) { put(t, 0, 4); });
  s.get();
  s.request.policy = "mine";
  s.request.plugin = &policy;
  EXPECT_EQ(make_plan(s.request).moves(), 1);
  s.request.limits.max_moves_total = 0;
  EXPECT_EQ(make_plan(s.request).moves(), 0);
}

TEST(plugin, experts_keep_their_slots_and_shares_go_with_them) {
  testing::scenario s = scene();
  const function_policy policy([](placement& t) {
    const std::vector<std::int32_t> experts = {4, 0, 1, 3, 4, 0, 1, 2, 3};
    const std::vector<std::int32_t> shares = {10, 5, 65536, 65526, 65526, 65531, 0, 65536, 10};
    std::ranges::copy(experts, t.experts_of(0).begin());
    std::ranges::copy(shares, t.shares_of(0).begin());
  });
  s.get();
  s.request.policy = "mine";
  s.request.plugin = &policy;
  const plan made = make_plan(s.request);
  EXPECT_EQ(
      std::vector<std::int32_t>(made.target.experts_of(0).begin(), made.target.experts_of(0).end()),
      (std::vector<std::int32_t>{0, 1, 4, 3, 4, 0, 1, 2, 3}));
  EXPECT_EQ(
      std::vector<std::int32_t>(made.target.shares_of(0).begin(), made.target.shares_of(0).end()),
      (std::vector<std::int32_t>{5, 65536, 10, 65526, 65526, 65531, 0, 65536, 10}));
  EXPECT_EQ(made.moves(), 1);
  EXPECT_EQ(made.changed, (std::vector<std::int32_t>{0}));
}

}  // namespace
}  // namespace ballast

#include "jobs/bench/plan_case.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "jobs/bench/plain_greedy.hpp"
#include "jobs/exit_code.hpp"

namespace ballast {
namespace {

using plan_handle = std::unique_ptr<ballast_plan, decltype(&ballast_plan_destroy)>;

constexpr std::int32_t share_total = 65536;
constexpr double balance_tolerance = 1e-3;  // against the greedy's
constexpr double report_tolerance = 1e-4;   // of what Ballast says of its placement

// Sums of mean and largest rank loads over layers.
struct balance_sum {
  double mean = 0;
  double largest = 0;
  double value() const { return largest > 0 ? mean / largest : 1.0; }
  void operator+=(const balance_sum& other) {
    mean += other.mean;
    largest += other.largest;
  }
};

}  // namespace

plan_case::plan_case(const plan_shape& shape, layer_loads loads, int threads, bool equal_shares,
                     bool cold_start)
    : shape_(shape), loads_(std::move(loads)) {
  ballast_topology* made = nullptr;
  check(ballast_topology_imitate(shape.ranks, shape.ranks / shape.nodes, "", &made));
  topology_.reset(made);
  ballast_plan_request_init(&request_);
  request_.layers = loads_.layers;
  request_.experts = loads_.experts;
  request_.ranks = shape.ranks;
  request_.slots_per_rank = shape.slots / shape.ranks;
  request_.loads = loads_.loads.data();
  request_.topology = made;
  request_.groups = shape.hierarchical ? shape.groups : 1;
  request_.threads = threads;
  request_.equal_shares = equal_shares;
  request_.cold_start = cold_start;
  greedy_.resize(static_cast<std::size_t>(loads_.layers));
}

std::string plan_case::refusal(const std::string& policy) {
  request_.policy = policy.c_str();
  ballast_plan* made = nullptr;
  const ballast_status status = ballast_plan_create(&request_, &made);
  ballast_plan_destroy(made);
  request_.policy = nullptr;
  if (status == BALLAST_OK) return "";
  if (status != BALLAST_ERROR_INVALID_ARGUMENT) check(status);
  return ballast_last_error();
}

plan_outcome plan_case::measure(const std::string& policy, int repetitions) {
  constexpr double enough_ms = 2000;
  request_.policy = policy.c_str();
  plan_outcome out;
  out.experts.resize(static_cast<std::size_t>(loads_.layers) * shape_.slots);
  out.shares.resize(out.experts.size());
  double spent_ms = 0;
  for (int round = 0; round < repetitions && spent_ms < enough_ms; ++round) {
    plan_once(out);
    greedy_once(out);
    spent_ms += out.summary.plan_seconds * 1e3;
  }
  request_.policy = nullptr;
  judge(policy, out);
  return out;
}

void plan_case::plan_once(plan_outcome& out) {
  ballast_plan* made = nullptr;
  check(ballast_plan_create(&request_, &made));
  const plan_handle plan(made, ballast_plan_destroy);
  out.summary.struct_size = sizeof(out.summary);
  check(ballast_plan_summarise(made, &out.summary));
  check(ballast_plan_placement(made, out.experts.data(), out.shares.data()));
  out.plan_ms.add(out.summary.plan_seconds * 1e3);
}

void plan_case::greedy_once(plan_outcome& out) {
  const auto plan_layer = [&](int layer) {
    const auto loads = loads_of(layer);
    if (!shape_.hierarchical) {
      return bench::plain_greedy(loads, shape_.ranks, request_.slots_per_rank);
    }
    return bench::plain_hierarchical_greedy(loads, shape_.groups, shape_.nodes, shape_.ranks,
                                            request_.slots_per_rank);
  };
  const double seconds = seconds_of([&] {
    for (int layer = 0; layer < loads_.layers; ++layer) greedy_[layer] = plan_layer(layer);
  });
  out.greedy_ms.add(seconds * 1e3);
}

// The greedy may put two replicas of an expert on one rank, which Ballast does not: the layers
// where it does so are left out when the balances are held against each other, and counted.
void plan_case::judge(const std::string& policy, plan_outcome& out) const {
  const bool claims_greedy = policy.starts_with("deepseek") || policy == "flow";
  const bool claims_groups = shape_.hierarchical && claims_greedy && policy != "deepseek-global";
  balance_sum ours;
  balance_sum greedy;
  balance_sum ours_compared;
  balance_sum greedy_compared;
  for (int layer = 0; layer < loads_.layers; ++layer) {
    out.wrong += !is_legal(layer, out) || (claims_groups && !keeps_groups(layer, out));
    const auto loads = loads_of(layer);
    const double mean = std::accumulate(loads.begin(), loads.end(), 0.0) / shape_.ranks;
    const balance_sum our_layer = {mean, largest_load(loads, layer, out)};
    const balance_sum greedy_layer = {
        mean, mean / bench::plain_balance(loads, greedy_[layer], shape_.ranks)};
    ours += our_layer;
    out.layer_balance += our_layer.value() / loads_.layers;
    greedy += greedy_layer;
    if (greedy_is_legal(layer)) {
      ours_compared += our_layer;
      greedy_compared += greedy_layer;
    } else {
      ++out.greedy_illegal;
    }
  }
  out.balance = ours.value();
  out.greedy_balance = greedy.value();
  out.wrong +=
      claims_greedy && ours_compared.value() < greedy_compared.value() * (1 - balance_tolerance);
  out.wrong += std::abs(out.balance - out.summary.balance_after) > report_tolerance;
}

double plan_case::largest_load(std::span<const std::int64_t> loads, int layer,
                               const plan_outcome& out) const {
  std::vector<double> rank_load(static_cast<std::size_t>(shape_.ranks), 0);
  for (int slot = 0; slot < shape_.slots; ++slot) {
    const std::size_t cell = static_cast<std::size_t>(layer) * shape_.slots + slot;
    const std::int32_t expert = out.experts[cell];
    if (expert < 0 || expert >= loads_.experts) continue;  // is_legal has seen it
    rank_load[slot / request_.slots_per_rank] +=
        static_cast<double>(loads[expert]) * out.shares[cell] / share_total;
  }
  return std::ranges::max(rank_load);
}

bool plan_case::greedy_is_legal(int layer) const {
  std::vector<std::int32_t> last_rank(static_cast<std::size_t>(loads_.experts), -1);
  for (int slot = 0; slot < shape_.slots; ++slot) {
    std::int32_t& last = last_rank[greedy_[layer][slot]];
    if (last == slot / request_.slots_per_rank) return false;
    last = slot / request_.slots_per_rank;
  }
  return true;
}

// All replicas of a group's experts on one node.
bool plan_case::keeps_groups(int layer, const plan_outcome& out) const {
  const std::int32_t experts_of_group = loads_.experts / shape_.groups;
  const std::int32_t slots_of_node = shape_.slots / shape_.nodes;
  std::vector<std::int32_t> node_of_group(static_cast<std::size_t>(shape_.groups), -1);
  for (int slot = 0; slot < shape_.slots; ++slot) {
    const std::int32_t expert = out.experts[static_cast<std::size_t>(layer) * shape_.slots + slot];
    if (expert < 0) continue;
    std::int32_t& node = node_of_group[expert / experts_of_group];
    if (node >= 0 && node != slot / slots_of_node) return false;
    node = slot / slots_of_node;
  }
  return true;
}

// Every expert somewhere, none twice on a rank, its shares all of its tokens; no share without an
// expert.
bool plan_case::is_legal(int layer, const plan_outcome& out) const {
  const std::size_t first = static_cast<std::size_t>(layer) * shape_.slots;
  std::vector<std::int32_t> shares(static_cast<std::size_t>(loads_.experts), 0);
  std::vector<std::int32_t> last_rank(static_cast<std::size_t>(loads_.experts), -1);
  for (int slot = 0; slot < shape_.slots; ++slot) {
    const std::int32_t expert = out.experts[first + slot];
    const std::int32_t share = out.shares[first + slot];
    const std::int32_t rank = slot / request_.slots_per_rank;
    if (expert == -1 && share == 0) continue;
    if (expert < 0 || expert >= loads_.experts || share < 0 || last_rank[expert] == rank)
      return false;
    last_rank[expert] = rank;
    shares[expert] += share;
  }
  return std::ranges::all_of(shares, [](std::int32_t sum) { return sum == share_total; });
}

}  // namespace ballast

#include "jobs/bench/peer_figures.hpp"

#include <algorithm>

namespace ballast {
namespace {

constexpr peer_plan_time times[] = {
    {"dsv3_ep32_288_hier", "adrs_shinka", 2.7},     {"dsv3_ep32_288_glob", "trtllm_cpp", 3.8},
    {"dsv3_ep64_320_hier", "adrs_openevolve", 3.7}, {"dsv3_ep64_320_glob", "trtllm_cpp", 3.6},
    {"dsv3_ep144_288", "trtllm_cpp", 3.1},          {"dsv3_ep320_320", "trtllm_cpp", 3.9},
    {"qwen3_ep16_144", "trtllm_cpp", 2.8},          {"qwen3_ep64_192", "trtllm_cpp", 4.6},
    {"kimi_ep128_512", "trtllm_cpp", 8.5},
};

constexpr peer_balance balances[] = {
    {"dsv3_ep32_288_hier", "logn0.5", "greedy", 0.9716},
    {"dsv3_ep32_288_hier", "logn1.0", "greedy", 0.9369},
    {"dsv3_ep32_288_hier", "logn1.5", "greedy", 0.8387},
    {"dsv3_ep32_288_hier", "zipf0.6", "greedy", 0.9416},
    {"dsv3_ep32_288_hier", "zipf1.0", "greedy", 0.7080},
    {"dsv3_ep32_288_hier", "zipf1.4", "greedy", 0.3808},
    {"dsv3_ep32_288_hier", "group", "greedy", 0.5895},
    {"dsv3_ep32_288_hier", "uniform", "greedy", 0.9977},
    {"dsv3_ep32_288_hier", "hot30", "greedy", 0.4222},
    {"dsv3_ep32_288_hier", "zeros", "greedy", 0.9321},
    {"dsv3_ep32_288_glob", "logn0.5", "ascend_flashlb", 0.9946},
    {"dsv3_ep32_288_glob", "logn1.0", "ascend_flashlb", 0.9964},
    {"dsv3_ep32_288_glob", "logn1.5", "ascend_flashlb", 0.9990},
    {"dsv3_ep32_288_glob", "zipf0.6", "ascend_flashlb", 0.9990},
    {"dsv3_ep32_288_glob", "zipf1.0", "ascend_flashlb", 0.9981},
    {"dsv3_ep32_288_glob", "zipf1.4", "greedy", 0.8223},
    {"dsv3_ep32_288_glob", "group", "ascend_flashlb", 0.9965},
    {"dsv3_ep32_288_glob", "uniform", "greedy", 0.9995},
    {"dsv3_ep32_288_glob", "hot30", "ascend_flashlb", 0.9960},
    {"dsv3_ep32_288_glob", "zeros", "ascend_flashlb", 0.9945},
    {"dsv3_ep64_320_hier", "logn0.5", "greedy", 0.8609},
    {"dsv3_ep64_320_hier", "logn1.0", "greedy", 0.7346},
    {"dsv3_ep64_320_hier", "logn1.5", "greedy", 0.5539},
    {"dsv3_ep64_320_hier", "zipf0.6", "greedy", 0.7471},
    {"dsv3_ep64_320_hier", "zipf1.0", "greedy", 0.3888},
    {"dsv3_ep64_320_hier", "zipf1.4", "greedy", 0.1919},
    {"dsv3_ep64_320_hier", "group", "greedy", 0.3297},
    {"dsv3_ep64_320_hier", "uniform", "greedy", 0.9890},
    {"dsv3_ep64_320_hier", "hot30", "greedy", 0.2235},
    {"dsv3_ep64_320_hier", "zeros", "greedy", 0.7296},
    {"dsv3_ep64_320_glob", "logn0.5", "ascend_default", 0.9743},
    {"dsv3_ep64_320_glob", "logn1.0", "ascend_flashlb", 0.9878},
    {"dsv3_ep64_320_glob", "logn1.5", "ascend_default", 0.9925},
    {"dsv3_ep64_320_glob", "zipf0.6", "ascend_default", 0.9963},
    {"dsv3_ep64_320_glob", "zipf1.0", "ascend_flashlb", 0.9817},
    {"dsv3_ep64_320_glob", "zipf1.4", "greedy", 0.8088},
    {"dsv3_ep64_320_glob", "group", "ascend_default", 0.9851},
    {"dsv3_ep64_320_glob", "uniform", "ascend_flashlb", 0.9988},
    {"dsv3_ep64_320_glob", "hot30", "ascend_default", 0.9847},
    {"dsv3_ep64_320_glob", "zeros", "ascend_default", 0.9774},
    {"dsv3_ep144_288", "logn0.5", "greedy", 0.9486},
    {"dsv3_ep144_288", "logn1.0", "greedy", 0.7487},
    {"dsv3_ep144_288", "logn1.5", "greedy", 0.5554},
    {"dsv3_ep144_288", "zipf0.6", "adrs_gepa", 0.7311},
    {"dsv3_ep144_288", "zipf1.0", "greedy", 0.4877},
    {"dsv3_ep144_288", "zipf1.4", "greedy", 0.3587},
    {"dsv3_ep144_288", "group", "greedy", 0.7311},
    {"dsv3_ep144_288", "uniform", "greedy", 0.9034},
    {"dsv3_ep144_288", "hot30", "adrs_gepa", 0.6497},
    {"dsv3_ep144_288", "zeros", "greedy", 0.7362},
    {"dsv3_ep320_320", "logn0.5", "greedy", 0.6275},
    {"dsv3_ep320_320", "logn1.0", "greedy", 0.4953},
    {"dsv3_ep320_320", "logn1.5", "greedy", 0.3933},
    {"dsv3_ep320_320", "zipf0.6", "greedy", 0.5902},
    {"dsv3_ep320_320", "zipf1.0", "greedy", 0.3840},
    {"dsv3_ep320_320", "zipf1.4", "greedy", 0.2833},
    {"dsv3_ep320_320", "group", "greedy", 0.5065},
    {"dsv3_ep320_320", "uniform", "greedy", 0.7822},
    {"dsv3_ep320_320", "hot30", "greedy", 0.5549},
    {"dsv3_ep320_320", "zeros", "greedy", 0.4778},
    {"qwen3_ep16_144", "logn0.5", "ascend_flashlb", 0.9950},
    {"qwen3_ep16_144", "logn1.0", "ascend_flashlb", 0.9971},
    {"qwen3_ep16_144", "logn1.5", "ascend_flashlb", 0.9989},
    {"qwen3_ep16_144", "zipf0.6", "ascend_flashlb", 0.9993},
    {"qwen3_ep16_144", "zipf1.0", "ascend_flashlb", 0.9993},
    {"qwen3_ep16_144", "zipf1.4", "ascend_flashlb", 0.9965},
    {"qwen3_ep16_144", "group", "ascend_flashlb", 0.9970},
    {"qwen3_ep16_144", "uniform", "ascend_flashlb", 0.9996},
    {"qwen3_ep16_144", "hot30", "ascend_flashlb", 0.9963},
    {"qwen3_ep16_144", "zeros", "ascend_flashlb", 0.9947},
    {"qwen3_ep64_192", "logn0.5", "greedy", 0.9748},
    {"qwen3_ep64_192", "logn1.0", "ascend_flashlb", 0.9578},
    {"qwen3_ep64_192", "logn1.5", "greedy", 0.9466},
    {"qwen3_ep64_192", "zipf0.6", "ascend_default", 0.9902},
    {"qwen3_ep64_192", "zipf1.0", "ascend_flashlb", 0.9518},
    {"qwen3_ep64_192", "zipf1.4", "greedy", 0.7861},
    {"qwen3_ep64_192", "group", "ascend_default", 0.9525},
    {"qwen3_ep64_192", "uniform", "greedy", 0.9948},
    {"qwen3_ep64_192", "hot30", "ascend_default", 0.9766},
    {"qwen3_ep64_192", "zeros", "ascend_default", 0.9033},
    {"kimi_ep128_512", "logn0.5", "adrs_levi", 0.9845},
    {"kimi_ep128_512", "logn1.0", "ascend_flashlb", 0.9892},
    {"kimi_ep128_512", "logn1.5", "greedy", 0.9824},
    {"kimi_ep128_512", "zipf0.6", "greedy", 0.9949},
    {"kimi_ep128_512", "zipf1.0", "ascend_flashlb", 0.9612},
    {"kimi_ep128_512", "zipf1.4", "greedy", 0.7692},
    {"kimi_ep128_512", "group", "greedy", 0.9839},
    {"kimi_ep128_512", "uniform", "greedy", 0.9991},
    {"kimi_ep128_512", "hot30", "ascend_default", 0.9791},
    {"kimi_ep128_512", "zeros", "greedy", 0.9825},
};

}  // namespace

const peer_balance* find_peer_balance(std::string_view shape, std::string_view family) {
  const auto found = std::ranges::find_if(
      balances, [&](const peer_balance& b) { return b.shape == shape && b.family == family; });
  return found == std::end(balances) ? nullptr : found;
}

const peer_plan_time* find_peer_plan_time(std::string_view shape) {
  const auto found = std::ranges::find(times, shape, &peer_plan_time::shape);
  return found == std::end(times) ? nullptr : found;
}

}  // namespace ballast

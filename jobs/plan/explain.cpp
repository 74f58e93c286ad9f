#include "jobs/plan/explain.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "jobs/exit_code.hpp"
#include "jobs/plan/text_table.hpp"

namespace ballast {
namespace {

constexpr const char* link_names[] = {"local", "island", "node", "remote"};

nlohmann::ordered_json move_to_json(const planned& made, const ballast_plan_move& move) {
  nlohmann::ordered_json json = {{"step", move.step},           {"expert", move.expert},
                                 {"displaced", move.displaced}, {"from_rank", move.from_rank},
                                 {"from_slot", move.from_slot}, {"to_rank", move.to_rank},
                                 {"to_slot", move.to_slot}};
  json["link"] = move.link < 0 ? "none" : link_names[move.link];
  json["bytes"] = move.link < 0 ? 0 : made.request.expert_bytes;
  json["max_before"] = move.max_before;
  json["max_after"] = move.max_after;
  json["relieved_rank"] = move.relieved_rank;
  json["relieves_fullest"] = move.relieves_fullest != 0;
  json["relieved_before"] = move.relieved_before;
  json["relieved_after"] = move.relieved_after;
  return json;
}

std::string expert_text(const nlohmann::ordered_json& expert) {
  return expert.get<std::int32_t>() < 0 ? "none" : expert.dump();
}

std::string place_text(const nlohmann::ordered_json& rank, const nlohmann::ordered_json& slot) {
  return rank.get<std::int32_t>() < 0 ? "none" : fmt::format("{}/{}", rank.dump(), slot.dump());
}

void add_move(text_table& table, const nlohmann::ordered_json& layer,
              const nlohmann::ordered_json& move, bool first_of_step) {
  const double mean = layer["mean"].get<double>();
  const auto level = [&](const char* field) {
    return mean > 0 ? move[field].get<double>() / mean : 0.0;
  };
  std::string relieves = "no rank";
  if (move["relieved_rank"].get<std::int32_t>() >= 0) {
    relieves = fmt::format("rank {}: {:.4f} -> {:.4f}{}", move["relieved_rank"].dump(),
                           level("relieved_before"), level("relieved_after"),
                           move["relieves_fullest"].get<bool>() ? "" : ", not a fullest");
  }
  table.add({layer["layer"].dump(), fmt::format("{}", move["step"].get<int>() + 1),
             expert_text(move["expert"]), place_text(move["from_rank"], move["from_slot"]),
             place_text(move["to_rank"], move["to_slot"]), expert_text(move["displaced"]),
             move["link"].get<std::string>(),
             fmt::format("{:.1f}", move["bytes"].get<double>() / (1 << 20)),
             first_of_step ? fmt::format("{:.4f}", level("max_after")) : "",
             first_of_step ? fmt::format("{:.4f}", level("max_before") - level("max_after")) : "",
             first_of_step ? relieves : "with it"});
}

}  // namespace

nlohmann::ordered_json explain_plan(const planned& made) {
  auto layers = nlohmann::ordered_json::array();
  for (int layer = 0; layer < made.request.layers; ++layer) {
    ballast_plan_explanation why;
    why.struct_size = sizeof(why);
    check(ballast_plan_explain(made.plan.get(), layer, &why));
    if (why.moves == 0 && why.max_before == why.max_after) continue;
    nlohmann::ordered_json json = {{"layer", layer},
                                   {"mean", why.mean},
                                   {"max_before", why.max_before},
                                   {"max_reshared", why.max_reshared},
                                   {"max_after", why.max_after},
                                   {"max_bound", why.max_bound},
                                   {"steps", why.steps},
                                   {"moves", nlohmann::ordered_json::array()}};
    for (std::int64_t index = 0; index < why.moves; ++index) {
      ballast_plan_move move;
      move.struct_size = sizeof(move);
      check(ballast_plan_read_move(made.plan.get(), index, &move));
      json["moves"].push_back(move_to_json(made, move));
    }
    layers.push_back(std::move(json));
  }
  return layers;
}

void print_explanation(const nlohmann::ordered_json& layers) {
  text_table table({{"layer", ""},
                    {"step", ""},
                    {"expert", ""},
                    {"from", "rank/slot"},
                    {"to", "rank/slot"},
                    {"displaced", "expert"},
                    {"link", "", true},
                    {"moved", "MiB"},
                    {"fullest", "/ mean"},
                    {"buys", "/ mean"},
                    {"relieves", "load / mean", true}});
  for (const auto& layer : layers) {
    const double mean = layer["mean"].get<double>();
    const auto level = [&](const char* field) {
      return mean > 0 ? layer[field].get<double>() / mean : 0.0;
    };
    table.add({layer["layer"].dump(), "0", "", "", "", "", "shares", "0.0",
               fmt::format("{:.4f}", level("max_reshared")),
               fmt::format("{:.4f}", level("max_before") - level("max_reshared")),
               "no byte moves"});
    int step = -1;
    for (const auto& move : layer["moves"]) {
      add_move(table, layer, move, move["step"].get<int>() != step);
      step = move["step"].get<int>();
    }
  }
  fmt::print("what each move buys, best first; moves of a step only work together\n{}",
             table.text());
}

}  // namespace ballast

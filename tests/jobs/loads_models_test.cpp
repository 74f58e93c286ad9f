// The compiled-in model shapes are those of the shared table, and are found by their keys.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "jobs/loads/models.hpp"

namespace ballast {
namespace {

TEST(loads_models, presets_are_those_of_the_shared_table) {
  const std::string path = std::string(BALLAST_SHARED_DIR) + "/data/models.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "missing: " << path;
  std::ifstream stream(path);
  const nlohmann::json table = nlohmann::json::parse(stream).at("models");
  ASSERT_EQ(table.size(), model_presets.size());
  for (std::size_t i = 0; i < model_presets.size(); ++i) {
    const model_preset& preset = model_presets[i];
    const nlohmann::json& entry = table[i];
    SCOPED_TRACE(preset.key);
    EXPECT_EQ(entry.at("key"), preset.key);
    EXPECT_EQ(entry.at("name"), preset.name);
    EXPECT_EQ(entry.at("hidden"), preset.hidden);
    EXPECT_EQ(entry.at("moe_intermediate"), preset.moe_intermediate);
    EXPECT_EQ(entry.at("moe_layers"), preset.layers);
    EXPECT_EQ(entry.at("experts"), preset.experts);
    EXPECT_EQ(entry.at("top_k"), preset.top_k);
    EXPECT_EQ(entry.at("groups"), preset.groups);
    EXPECT_EQ(entry.at("topk_groups"), preset.topk_groups);
    EXPECT_EQ(entry.at("shared_experts"), preset.shared_experts);
    EXPECT_EQ(entry.at("config_read"), preset.shape_published);
    EXPECT_EQ(entry.at("parameters_per_expert"), preset.parameters_per_expert());
    for (int format = 0; format < weight_format_count; ++format) {
      const auto as = static_cast<weight_format>(format);
      EXPECT_EQ(entry.at("expert_bytes").at(to_string(as)), preset.expert_bytes(as))
          << to_string(as);
    }
  }
}

TEST(loads_models, a_key_without_suffix_is_bf16) {
  const model_choice choice = find_model("deepseek-v3");
  EXPECT_EQ(choice.model->experts, 256);
  EXPECT_EQ(choice.expert_bytes, 88080384);
  EXPECT_EQ(
      choice.describe(),
      "DeepSeek-V3/R1/V3.1/V3.2: 58 layers x 256 experts, top-8, 88080384 bytes an expert (bf16)");
}

TEST(loads_models, every_key_is_found_with_every_suffix) {
  for (const model_preset& preset : model_presets) {
    for (int format = 0; format < weight_format_count; ++format) {
      const auto as = static_cast<weight_format>(format);
      const model_choice choice = find_model(std::string(preset.key) + "-" + to_string(as));
      EXPECT_EQ(choice.model, &preset);
      EXPECT_EQ(choice.format, as);
      EXPECT_EQ(choice.expert_bytes, preset.expert_bytes(as));
    }
  }
}

TEST(loads_models, an_unknown_key_lists_the_known_ones) {
  for (const char* key :
       {"", "gpt-5", "deepseek-v3-int4", "-fp8", "deepseek-v3-fp8-fp8", "DeepSeek-V3"}) {
    try {
      find_model(key);
      FAIL() << key << " was found";
    } catch (const std::invalid_argument& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("unknown model \"" + std::string(key) + "\""), std::string::npos) << text;
      EXPECT_NE(text.find("mixtral-8x22b"), std::string::npos) << text;
    }
  }
}

}  // namespace
}  // namespace ballast

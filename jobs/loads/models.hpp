#pragma once
// The shapes of the routed experts of public models, and what one expert weighs in each weight
// format.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ballast {

enum class weight_format : std::uint8_t { bf16 = 0, fp8 = 1, nvfp4 = 2, mxfp4 = 3 };
inline constexpr int weight_format_count = 4;
const char* to_string(weight_format format);

struct model_preset {
  std::string_view key;
  std::string_view name;
  std::int32_t hidden = 0;
  std::int32_t moe_intermediate = 0;
  std::int32_t layers = 0;  ///< MoE layers
  std::int32_t experts = 0;
  std::int32_t top_k = 0;
  std::int32_t groups = 1;
  std::int32_t topk_groups = 1;
  std::int32_t shared_experts = 0;
  bool shape_published = false;  ///< dimensions read from a published configuration; otherwise from
                                 ///< general knowledge that agrees with the published total size

  /// Gate, up and down projection.
  constexpr std::int64_t parameters_per_expert() const {
    return std::int64_t{3} * hidden * moe_intermediate;
  }

  /// Weights and scales: bf16 2 bytes a parameter; fp8 1 and a 4-byte scale per 128 x 128; nvfp4
  /// 0.5 and an fp8 scale per 16; mxfp4 0.5 and one byte per 32.
  constexpr std::int64_t expert_bytes(weight_format format) const {
    const std::int64_t parameters = parameters_per_expert();
    switch (format) {
      case weight_format::bf16:
        return 2 * parameters;
      case weight_format::fp8:
        return parameters + parameters / (128 * 128) * 4;
      case weight_format::nvfp4:
        return parameters / 2 + parameters / 16;
      case weight_format::mxfp4:
        return parameters / 2 + parameters / 32;
    }
    return 0;
  }
};

inline constexpr std::array<model_preset, 21> model_presets = {{
    // key, name, hidden, moe_intermediate, layers, experts, top_k, groups, topk_groups, shared,
    // published
    {"deepseek-v3", "DeepSeek-V3/R1/V3.1/V3.2", 7168, 2048, 58, 256, 8, 8, 4, 1, true},
    {"kimi-k2", "Kimi-K2", 7168, 2048, 60, 384, 8, 1, 1, 1, false},
    {"deepseek-v4-pro", "DeepSeek-V4-Pro", 7168, 3072, 61, 384, 6, 1, 1, 1, true},
    {"deepseek-v4-flash", "DeepSeek-V4-Flash", 4096, 2048, 43, 256, 6, 1, 1, 1, true},
    {"deepseek-v2", "DeepSeek-V2", 5120, 1536, 59, 160, 6, 8, 3, 2, false},
    {"deepseek-v2-lite", "DeepSeek-V2-Lite", 2048, 1408, 26, 64, 6, 1, 1, 2, false},
    {"qwen3-235b", "Qwen3-235B-A22B", 4096, 1536, 94, 128, 8, 1, 1, 0, false},
    {"qwen3-30b", "Qwen3-30B-A3B", 2048, 768, 48, 128, 8, 1, 1, 0, false},
    {"qwen3-coder-480b", "Qwen3-Coder-480B", 6144, 2560, 62, 160, 8, 1, 1, 0, false},
    {"qwen3-next-80b", "Qwen3-Next-80B", 2048, 512, 48, 512, 10, 1, 1, 1, false},
    {"qwen3.5-397b", "Qwen3.5-397B-A17B", 4096, 1024, 60, 512, 10, 1, 1, 1, false},
    {"llama4-maverick", "Llama-4-Maverick", 5120, 8192, 24, 128, 1, 1, 1, 1, false},
    {"llama4-scout", "Llama-4-Scout", 5120, 8192, 48, 16, 1, 1, 1, 1, false},
    {"gpt-oss-120b", "gpt-oss-120b", 2880, 2880, 36, 128, 4, 1, 1, 0, false},
    {"gpt-oss-20b", "gpt-oss-20b", 2880, 2880, 24, 32, 4, 1, 1, 0, false},
    {"glm-4.5", "GLM-4.5/4.7", 5120, 1536, 89, 160, 8, 1, 1, 1, true},
    {"glm-4.5-air", "GLM-4.5-Air", 4096, 1408, 45, 128, 8, 1, 1, 1, true},
    {"glm-5", "GLM-5", 6144, 2048, 75, 256, 8, 1, 1, 1, false},
    {"minimax-m2", "MiniMax-M2", 3072, 1536, 62, 256, 8, 1, 1, 0, false},
    {"mixtral-8x7b", "Mixtral-8x7B", 4096, 14336, 32, 8, 2, 1, 1, 0, false},
    {"mixtral-8x22b", "Mixtral-8x22B", 6144, 16384, 56, 8, 2, 1, 1, 0, false},
}};

/// A model in a weight format.
struct model_choice {
  const model_preset* model = nullptr;  ///< into model_presets
  weight_format format = weight_format::bf16;
  std::int64_t expert_bytes = 0;

  /// "DeepSeek-V3/R1/V3.1/V3.2: 58 layers x 256 experts, top-8, 88080384 bytes an expert (bf16)".
  std::string describe() const;
};

/// Looks up a key with an optional suffix -bf16, -fp8, -nvfp4 or -mxfp4, e.g. "deepseek-v3-fp8";
/// without a suffix the format is bf16. Throws std::invalid_argument listing the known keys.
model_choice find_model(std::string_view key);

}  // namespace ballast

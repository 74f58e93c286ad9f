#include "jobs/loads/models.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "jobs/loads/printable.hpp"

namespace ballast {

namespace {

constexpr std::array<const char*, weight_format_count> format_names = {"bf16", "fp8", "nvfp4",
                                                                       "mxfp4"};

const model_preset* find_preset(std::string_view key) {
  for (const model_preset& preset : model_presets) {
    if (preset.key == key) return &preset;
  }
  return nullptr;
}

}  // namespace

const char* to_string(weight_format format) {
  return format_names[static_cast<std::size_t>(format)];
}

std::string model_choice::describe() const {
  return fmt::format("{}: {} layers x {} experts, top-{}, {} bytes an expert ({})", model->name,
                     model->layers, model->experts, model->top_k, expert_bytes, to_string(format));
}

model_choice find_model(std::string_view key) {
  if (const model_preset* preset = find_preset(key)) {
    return {preset, weight_format::bf16, preset->expert_bytes(weight_format::bf16)};
  }
  for (int index = 0; index < weight_format_count; ++index) {
    const auto format = static_cast<weight_format>(index);
    const std::string suffix = fmt::format("-{}", to_string(format));
    if (!key.ends_with(suffix)) continue;
    if (const model_preset* preset = find_preset(key.substr(0, key.size() - suffix.size()))) {
      return {preset, format, preset->expert_bytes(format)};
    }
  }
  std::string known;
  for (const model_preset& preset : model_presets) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", preset.key);
  }
  throw std::invalid_argument(fmt::format(
      "unknown model \"{}\"; known, each with -bf16, -fp8, -nvfp4 or -mxfp4 behind it or not: {}",
      printable(key, 60), known));
}

}  // namespace ballast

#include "jobs/loads/trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "jobs/loads/trace_data.hpp"

namespace ballast {

namespace {

class trace_source final : public load_source {
 public:
  trace_source(trace_data data, std::string name)
      : data_(std::move(data)), name_(std::move(name)) {}

  std::int32_t layers() const override { return data_.layers; }
  std::int32_t experts() const override { return data_.experts; }
  std::int32_t top_k() const override { return data_.top_k; }
  std::int64_t steps() const override { return data_.steps.size(); }

  std::int64_t tokens_per_step(std::int64_t step) const override {
    return data_.tokens.empty() ? 0 : data_.tokens.at(static_cast<std::size_t>(step));
  }

  void counts(std::int64_t step, std::span<std::int64_t> out) override {
    require_step(step, out.size());
    data_.steps.read(step, out);
  }

  std::string describe() const override {
    return fmt::format("trace {}{}{}: {} layers x {} experts{}, {} step{}", name_,
                       data_.model.empty() ? "" : ", ", data_.model, data_.layers, data_.experts,
                       data_.top_k > 0 ? fmt::format(", top-{}", data_.top_k) : "", steps(),
                       steps() == 1 ? "" : "s");
  }

 private:
  trace_data data_;
  std::string name_;
};

}  // namespace

std::unique_ptr<load_source> open_trace(const std::string& path, const trace_limits& limits) {
  byte_source source(path, {limits.file_bytes, limits.plain_bytes});
  if (source.starts_with("PK\x03\x04"))
    source.fail("is a zip archive (.npz or .pt); a trace is JSON or .npy");
  trace_data data = source.starts_with("\x93NUMPY") ? read_npy_trace(source, limits)
                                                    : read_json_trace(source, limits);
  return std::make_unique<trace_source>(std::move(data), source.name());
}

std::int64_t append_step(trace_data& data, std::span<const std::int64_t> counts,
                         const byte_source& source) {
  std::int64_t largest = 0;
  for (std::int32_t layer = 0; layer < data.layers; ++layer) {
    std::int64_t sum = 0;
    for (const std::int64_t count :
         counts.subspan(static_cast<std::size_t>(layer) * data.experts, data.experts)) {
      if (count > load_max - sum) {
        source.fail(fmt::format("steps[{}][{}]: its counts sum to more than 2^62",
                                data.steps.size(), layer));
      }
      sum += count;
    }
    largest = std::max(largest, sum);
  }
  data.steps.append(counts);
  return largest;
}

}  // namespace ballast

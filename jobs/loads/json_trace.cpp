// Reads a JSON trace in one pass, straight from the parser's events into the counts: nothing but
// one step and one JSON value is held beside them.

#include <fmt/format.h>

#include <cmath>
#include <istream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "jobs/loads/printable.hpp"
#include "jobs/loads/trace_data.hpp"

namespace ballast {

namespace {

constexpr int depth_max = 64;
constexpr std::int64_t value_bytes_max = std::int64_t{16} << 20;
constexpr std::size_t fields_max = 1024;

enum class field { none, model, layers, experts, top_k, n_steps, tokens, steps, other };

struct known_field {
  const char* key;
  field id;
};
constexpr known_field known_fields[] = {
    {"model", field::model}, {"layers", field::layers},   {"experts", field::experts},
    {"topk", field::top_k},  {"n_steps", field::n_steps}, {"tokens_per_step", field::tokens},
    {"steps", field::steps},
};

// The interface that nlohmann::json::sax_parse asks for. Depth counts the open containers: 1 is the
// root object, and in "steps" 2 is the list of steps, 3 a list of layers, 4 a row of counts.
class trace_handler {
 public:
  trace_handler(byte_source& source, const trace_limits& limits)
      : source_(source), limits_(limits) {}

  bool null() { return wrong_type("null"); }
  bool boolean(bool value) { return wrong_type(value ? "true" : "false"); }
  bool binary(nlohmann::json::binary_t&) { return wrong_type("binary"); }
  bool number_integer(std::int64_t value) {
    return value < 0 ? negative(fmt::format("{}", value)) : number(value);
  }
  bool number_unsigned(std::uint64_t value);
  bool number_float(double value, const std::string& text);
  bool string(std::string& value);
  bool start_object(std::size_t);
  bool key(std::string& name);
  bool end_object();
  bool start_array(std::size_t);
  bool end_array();
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::json::exception& error);

  trace_data finish();

 private:
  bool number(std::int64_t value);
  bool negative(const std::string& text);
  bool wrong_type(std::string_view what);
  bool is_number_expected() const;
  std::string where() const;
  void end_row();
  void end_step();
  [[noreturn]] void fail_at(std::string_view what) const {
    source_.fail(fmt::format("{}{}", where(), what));
  }

  byte_source& source_;
  const trace_limits& limits_;
  trace_data data_;
  std::set<std::string> seen_;
  field field_ = field::none;
  std::string field_name_;
  int depth_ = 0;

  std::vector<std::int64_t> step_;  // counts of the step being read
  std::int64_t row_first_ = 0;      // where its current row begins in step_
  std::int64_t rows_ = 0;           // complete rows of it
  std::int64_t cells_ = 0;          // of complete steps
  std::vector<std::int64_t> largest_sums_;

  std::int64_t layers_said_ = -1;
  std::int64_t experts_said_ = -1;
  std::int64_t steps_said_ = -1;
};

std::string trace_handler::where() const {
  if (field_ == field::none) return "";
  std::string path = field_name_;
  if (field_ == field::tokens && depth_ == 2) path += fmt::format("[{}]", data_.tokens.size());
  if (field_ == field::steps) {
    if (depth_ >= 2) path += fmt::format("[{}]", data_.steps.size());
    if (depth_ >= 3) path += fmt::format("[{}]", rows_);
    if (depth_ >= 4)
      path += fmt::format("[{}]", static_cast<std::int64_t>(step_.size()) - row_first_);
  }
  return path;
}

bool trace_handler::is_number_expected() const {
  switch (field_) {
    case field::layers:
    case field::experts:
    case field::top_k:
    case field::n_steps:
      return depth_ == 1;
    case field::tokens:
      return depth_ == 2;
    case field::steps:
      return depth_ == 4;
    default:
      return false;
  }
}

// A value of another type than the field's: an error in a known field, nothing in others.
bool trace_handler::wrong_type(std::string_view what) {
  source_.value_read();
  if (depth_ == 0) source_.fail(fmt::format("must be a JSON object with \"steps\", not {}", what));
  if (field_ == field::other) return true;
  const char* wanted = "a number";
  if (field_ == field::model) wanted = "text";
  if (field_ == field::tokens && depth_ == 1) wanted = "a list of token numbers, one per step";
  if (field_ == field::steps && depth_ == 1) wanted = "a list of steps";
  if (field_ == field::steps && depth_ == 2) wanted = "a list of layers";
  if (field_ == field::steps && depth_ == 3) wanted = "a list of counts, one per expert";
  fail_at(fmt::format(" must be {}, not {}", wanted, what));
}

bool trace_handler::negative(const std::string& text) {
  if (!is_number_expected()) return wrong_type(fmt::format("the number {}", printable(text, 40)));
  fail_at(fmt::format(" is {}: must not be negative", printable(text, 40)));
}

bool trace_handler::number_unsigned(std::uint64_t value) {
  if (value > static_cast<std::uint64_t>(load_max) && is_number_expected()) {
    fail_at(fmt::format(" is {}: larger than 2^62", value));
  }
  return number(static_cast<std::int64_t>(value));
}

bool trace_handler::number_float(double value, const std::string& text) {
  constexpr double exact_max =
      9007199254740992.0;  // 2^53: up to here a double names one whole number
  if (value < 0) return negative(text);
  if (is_number_expected()) {
    if (value != std::floor(value))
      fail_at(fmt::format(" is {}: must be a whole number", printable(text, 40)));
    if (value > exact_max) fail_at(fmt::format(" is {}: too large", printable(text, 40)));
    return number(static_cast<std::int64_t>(value));
  }
  return wrong_type(fmt::format("the number {}", printable(text, 40)));
}

bool trace_handler::number(std::int64_t value) {
  if (!is_number_expected()) return wrong_type(fmt::format("the number {}", value));
  source_.value_read();
  const auto require_between_1_and = [&](std::int64_t most) {
    if (value < 1 || value > most) fail_at(fmt::format(" is {}: must be 1 to {}", value, most));
  };
  switch (field_) {
    case field::layers:
      require_between_1_and(limits_.layers);
      layers_said_ = value;
      break;
    case field::experts:
      require_between_1_and(limits_.experts);
      experts_said_ = value;
      break;
    case field::top_k:
      require_between_1_and(limits_.experts);
      data_.top_k = static_cast<std::int32_t>(value);
      break;
    case field::n_steps:
      require_between_1_and(limits_.steps);
      steps_said_ = value;
      break;
    case field::tokens:
      if (static_cast<std::int64_t>(data_.tokens.size()) >= limits_.steps) {
        fail_at(fmt::format(": more than {} steps", limits_.steps));
      }
      data_.tokens.push_back(value);
      break;
    default:
      if (static_cast<std::int64_t>(step_.size()) - row_first_ >= limits_.experts) {
        fail_at(fmt::format(": more than {} experts", limits_.experts));
      }
      if (cells_ + static_cast<std::int64_t>(step_.size()) >= limits_.cells) {
        fail_at(fmt::format(": more than {} counts in all", limits_.cells));
      }
      step_.push_back(value);
  }
  return true;
}

bool trace_handler::string(std::string& value) {
  if (field_ != field::model || depth_ != 1)
    return wrong_type(fmt::format("\"{}\"", printable(value, 40)));
  source_.value_read();
  data_.model = printable(value);
  return true;
}

bool trace_handler::start_object(std::size_t) {
  if (depth_ > 0) wrong_type("an object");
  source_.value_read();
  if (++depth_ > depth_max) source_.fail(fmt::format("nests deeper than {} levels", depth_max));
  return true;
}

bool trace_handler::key(std::string& name) {
  source_.value_read();
  if (depth_ != 1) return true;
  field_name_ = printable(name, 80);
  field_ = field::other;
  for (const known_field& known : known_fields) {
    if (name == known.key) field_ = known.id;
  }
  if (name.size() > 256)
    source_.fail(fmt::format("field \"{}\": a name of more than 256 bytes", field_name_));
  if (!seen_.insert(name).second)
    source_.fail(fmt::format("field \"{}\" appears twice", field_name_));
  if (seen_.size() > fields_max) source_.fail(fmt::format("has more than {} fields", fields_max));
  return true;
}

bool trace_handler::end_object() {
  source_.value_read();
  --depth_;
  return true;
}

bool trace_handler::start_array(std::size_t) {
  const bool list_expected =
      (field_ == field::steps && depth_ <= 3) || (field_ == field::tokens && depth_ == 1);
  if (depth_ == 0 || !list_expected) wrong_type("a list");
  source_.value_read();
  if (field_ == field::steps && depth_ == 2 && data_.steps.size() >= limits_.steps) {
    fail_at(fmt::format(": more than {} steps", limits_.steps));
  }
  if (field_ == field::steps && depth_ == 3 && rows_ >= limits_.layers) {
    fail_at(fmt::format(": more than {} layers", limits_.layers));
  }
  if (++depth_ > depth_max) source_.fail(fmt::format("nests deeper than {} levels", depth_max));
  return true;
}

bool trace_handler::end_array() {
  source_.value_read();
  --depth_;
  if (field_ == field::steps && depth_ == 3) end_row();
  if (field_ == field::steps && depth_ == 2) end_step();
  return true;
}

void trace_handler::end_row() {
  const std::int64_t experts = static_cast<std::int64_t>(step_.size()) - row_first_;
  if (experts == 0) fail_at(" has no experts");
  if (data_.experts == 0) data_.experts = static_cast<std::int32_t>(experts);
  if (experts != data_.experts) {
    fail_at(fmt::format(" has {} experts, steps[0][0] has {}", experts, data_.experts));
  }
  row_first_ += experts;
  ++rows_;
}

void trace_handler::end_step() {
  if (rows_ == 0) fail_at(" has no layers");
  if (data_.layers == 0) data_.layers = static_cast<std::int32_t>(rows_);
  if (rows_ != data_.layers)
    fail_at(fmt::format(" has {} layers, steps[0] has {}", rows_, data_.layers));
  largest_sums_.push_back(append_step(data_, step_, source_));
  cells_ += static_cast<std::int64_t>(step_.size());
  step_.clear();
  row_first_ = 0;
  rows_ = 0;
}

bool trace_handler::parse_error(std::size_t position, const std::string&,
                                const nlohmann::json::exception& error) {
  // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ...": from the
  // bracket's end on.
  std::string_view what = error.what();
  if (const std::size_t end = what.find("] "); end != std::string_view::npos)
    what.remove_prefix(end + 2);
  const std::string path = where();
  source_.fail(fmt::format("not JSON at byte {}{}: {}", position,
                           path.empty() ? "" : fmt::format(", in {}", path), printable(what)));
}

trace_data trace_handler::finish() {
  if (!seen_.contains("steps"))
    source_.fail("has no field \"steps\" ([steps][layers][experts] counts)");
  const std::int64_t steps = data_.steps.size();
  if (steps == 0) source_.fail("steps has no step");
  const auto require_equal = [&](const char* name, std::int64_t said, std::int64_t found) {
    if (said >= 0 && said != found)
      source_.fail(fmt::format("{} is {}, but steps holds {}", name, said, found));
  };
  require_equal("layers", layers_said_, data_.layers);
  require_equal("experts", experts_said_, data_.experts);
  require_equal("n_steps", steps_said_, steps);
  if (data_.top_k > data_.experts) {
    source_.fail(fmt::format("topk is {}, but there are {} experts", data_.top_k, data_.experts));
  }
  if (seen_.contains("tokens_per_step")) {
    const auto said = static_cast<std::int64_t>(data_.tokens.size());
    if (said != steps)
      source_.fail(fmt::format("tokens_per_step has {} entries, steps {}", said, steps));
  } else if (data_.top_k > 0) {
    for (const std::int64_t sum : largest_sums_)
      data_.tokens.push_back(sum / data_.top_k + (sum % data_.top_k != 0));
  }
  return std::move(data_);
}

}  // namespace

trace_data read_json_trace(byte_source& source, const trace_limits& limits) {
  source.expect_text(value_bytes_max);
  std::istream stream(&source);
  trace_handler handler(source, limits);
  nlohmann::json::sax_parse(stream, &handler);
  return handler.finish();
}

}  // namespace ballast

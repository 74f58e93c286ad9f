#include "jobs/placement_file.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "jobs/output.hpp"

namespace ballast {
namespace {

constexpr std::uintmax_t file_bytes_max = std::uintmax_t{256} << 20;
constexpr const char* schema = "ballast.placement/1";

[[noreturn]] void reject(const std::string& path, const std::string& why) {
  throw std::invalid_argument(path + ": " + why);
}

// A whole number in [least, most]; JSON's may be signed, unsigned or neither.
bool read_number(const nlohmann::json& number, std::int64_t least, std::int64_t most,
                 std::int32_t& value) {
  if (!number.is_number_integer()) return false;
  if (number.is_number_unsigned() && number.get<std::uint64_t>() > static_cast<std::uint64_t>(most))
    return false;
  const auto wide = number.get<std::int64_t>();
  if (wide < least || wide > most) return false;
  value = static_cast<std::int32_t>(wide);
  return true;
}

std::int32_t read_count(const nlohmann::json& document, const std::string& path, const char* field,
                        std::int64_t most) {
  const auto it = document.find(field);
  if (it == document.end()) reject(path, fmt::format("{} is missing", field));
  std::int32_t value = 0;
  if (!read_number(*it, 1, most, value)) {
    reject(path, fmt::format("{} is {}, expected 1 to {}", field, it->dump().substr(0, 40), most));
  }
  return value;
}

// One number, or one for each rank, which must be the same.
std::int32_t read_slots_per_rank(const nlohmann::json& document, const std::string& path,
                                 std::int32_t ranks) {
  constexpr std::int64_t most = 2048;
  const auto it = document.find("slots_per_rank");
  if (it == document.end() || !it->is_array())
    return read_count(document, path, "slots_per_rank", most);
  if (it->size() != static_cast<std::size_t>(ranks)) {
    reject(path,
           fmt::format("slots_per_rank has {} entries, expected {} (ranks)", it->size(), ranks));
  }
  std::int32_t first = 0;
  for (std::size_t rank = 0; rank < it->size(); ++rank) {
    std::int32_t value = 0;
    if (!read_number((*it)[rank], 1, most, value)) {
      reject(path, fmt::format("slots_per_rank[{}] is {}, expected 1 to {}", rank,
                               (*it)[rank].dump().substr(0, 40), most));
    }
    if (rank == 0) first = value;
    if (value != first) {
      reject(path,
             fmt::format("slots_per_rank[{}] is {}, that of rank 0 is {}; ranks with different "
                         "numbers of slots cannot be planned from a file",
                         rank, value, first));
    }
  }
  return first;
}

// Optional.
void read_slots_per_layer(const nlohmann::json& document, const std::string& path,
                          placement_file& file) {
  const auto it = document.find("slots_per_layer");
  if (it == document.end()) return;
  if (!it->is_array() || it->size() != static_cast<std::size_t>(file.layers)) {
    reject(path, fmt::format("slots_per_layer has {} entries, expected {} (layers)",
                             it->is_array() ? it->size() : 0, file.layers));
  }
  for (std::size_t layer = 0; layer < it->size(); ++layer) {
    std::int32_t slots = 0;
    if (!read_number((*it)[layer], 1, file.slots_per_rank, slots)) {
      reject(path, fmt::format("slots_per_layer[{}] is {}, expected 1 to {} (slots_per_rank)",
                               layer, (*it)[layer].dump().substr(0, 40), file.slots_per_rank));
    }
    file.slots_per_layer.push_back(slots);
  }
}

std::vector<std::int32_t> read_matrix(const nlohmann::json& document, const std::string& path,
                                      const char* field, const placement_file& shape,
                                      std::int64_t least, std::int64_t most) {
  const auto it = document.find(field);
  if (it == document.end()) reject(path, fmt::format("{} is missing", field));
  const std::size_t slots = static_cast<std::size_t>(shape.ranks) * shape.slots_per_rank;
  if (!it->is_array() || it->size() != static_cast<std::size_t>(shape.layers)) {
    reject(path, fmt::format("{} has {} rows, expected {} (layers)", field,
                             it->is_array() ? it->size() : 0, shape.layers));
  }
  std::vector<std::int32_t> values;
  for (std::size_t layer = 0; layer < it->size(); ++layer) {
    const nlohmann::json& row = (*it)[layer];
    if (!row.is_array() || row.size() != slots) {
      reject(path, fmt::format("{}[{}] has {} entries, expected {} (ranks * slots_per_rank)", field,
                               layer, row.is_array() ? row.size() : 0, slots));
    }
    for (std::size_t s = 0; s < slots; ++s) {
      std::int32_t value = 0;
      if (!read_number(row[s], least, most, value)) {
        reject(path, fmt::format("{}[{}][{}] is {}, expected {} to {}", field, layer, s,
                                 row[s].dump().substr(0, 40), least, most));
      }
      values.push_back(value);
    }
  }
  return values;
}

}  // namespace

placement_file read_placement_file(const std::string& path) {
  std::error_code code;
  const std::uintmax_t bytes = std::filesystem::file_size(path, code);
  if (code) reject(path, code.message());
  if (bytes > file_bytes_max)
    reject(path, fmt::format("{} bytes, at most {} are read", bytes, file_bytes_max));
  std::ifstream stream(path, std::ios::binary);
  if (!stream) reject(path, "cannot be opened");
  const std::string text((std::istreambuf_iterator<char>(stream)),
                         std::istreambuf_iterator<char>());
  // Parsing recurses per nesting level; a placement nests two deep.
  int depth = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > 16) reject(path, "nested deeper than 16");
  }
  const nlohmann::json document = nlohmann::json::parse(text, nullptr, false);
  if (document.is_discarded() || !document.is_object()) reject(path, "is not a JSON object");
  if (const nlohmann::json found = document.value("schema", nlohmann::json()); found != schema) {
    reject(path, fmt::format("schema is {}, expected \"{}\"", found.dump().substr(0, 40), schema));
  }

  placement_file file;
  file.layers = read_count(document, path, "layers", 4096);
  file.experts = read_count(document, path, "experts", 65536);
  file.ranks = read_count(document, path, "ranks", 16384);
  file.slots_per_rank = read_slots_per_rank(document, path, file.ranks);
  if (const auto model = document.find("model"); model != document.end()) {
    if (!model->is_string())
      reject(path, fmt::format("model is {}, expected a text", model->dump().substr(0, 40)));
    file.model = *model;
  }
  read_slots_per_layer(document, path, file);
  file.experts_of_slots = read_matrix(document, path, "placement", file, -1, file.experts - 1);
  file.shares = read_matrix(document, path, "shares", file, 0, 65536);
  return file;
}

void write_placement_file(const std::string& path, const placement_file& file) {
  nlohmann::ordered_json document = json_head("placement");
  document.erase("command");
  document["layers"] = file.layers;
  document["experts"] = file.experts;
  document["ranks"] = file.ranks;
  document["slots_per_rank"] = file.slots_per_rank;
  if (!file.slots_per_layer.empty()) document["slots_per_layer"] = file.slots_per_layer;
  if (!file.model.empty()) document["model"] = file.model;
  const std::size_t slots = static_cast<std::size_t>(file.ranks) * file.slots_per_rank;
  for (const auto& [name, values] :
       {std::pair{"placement", &file.experts_of_slots}, std::pair{"shares", &file.shares}}) {
    auto& rows = document[name] = nlohmann::ordered_json::array();
    for (int layer = 0; layer < file.layers; ++layer) {
      rows.push_back(std::vector<std::int32_t>(values->begin() + layer * slots,
                                               values->begin() + (layer + 1) * slots));
    }
  }
  write_file(path, document.dump() + "\n");
}

}  // namespace ballast

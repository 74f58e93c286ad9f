#pragma once
// What a rank can report in its vote besides progress: a kind of trouble and the rank, ordered so
// that the minimum over ranks is the most telling.

#include <cstdint>
#include <string>

namespace ballast {

enum class trouble_kind : std::uint32_t { planner_failed = 1, deadline = 2, paused = 3 };

inline std::uint64_t make_trouble(trouble_kind kind, int rank) {
  return static_cast<std::uint64_t>(kind) << 32 | static_cast<std::uint32_t>(rank);
}

inline bool is_deadline(std::uint64_t trouble) {
  return trouble >> 32 == static_cast<std::uint64_t>(trouble_kind::deadline);
}

/// "rank 3: the planner failed"
inline std::string trouble_text(std::uint64_t trouble) {
  static constexpr const char* texts[] = {"unknown trouble", "the planner failed",
                                          "a phase passed its deadline", "paused"};
  const std::uint64_t kind = trouble >> 32;
  return "rank " + std::to_string(trouble & 0xffffffffu) + ": " + texts[kind <= 3 ? kind : 0];
}

}  // namespace ballast

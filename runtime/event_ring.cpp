#include "runtime/event_ring.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ballast {
namespace {

constexpr const char* names[] = {
    "triggered",   "trigger_missed", "reduced",       "planned",         "agreed",
    "diverged",    "batch_started",  "batch_arrived", "batch_committed", "bad_checksum",
    "drain_began", "drained",        "quarantined",   "closed",          "deadline_passed"};

}  // namespace

std::vector<std::string> event_ring::lines() const {
  std::vector<std::string> lines;
  const std::size_t kept = std::min(count_, entries_.size());
  for (std::size_t i = count_ - kept; i < count_; ++i) {
    const entry& e = entries_[i % entries_.size()];
    lines.push_back(
        fmt::format("step {} {} {}", e.step, names[static_cast<int>(e.event)], e.detail));
  }
  return lines;
}

}  // namespace ballast

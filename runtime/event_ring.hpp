#pragma once
// The last 256 protocol events of this rank, for the dump when ranks fall silent. Recording
// allocates nothing.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace ballast {

enum class protocol_event : std::uint8_t {
  triggered,
  trigger_missed,
  reduced,
  planned,
  agreed,
  diverged,
  batch_started,
  batch_arrived,
  batch_committed,
  bad_checksum,
  drain_began,
  drained,
  quarantined,
  closed,
  deadline_passed
};

class event_ring {
 public:
  void add(std::int64_t step, protocol_event event, std::int64_t detail = 0) {
    entries_[count_++ % entries_.size()] = {step, detail, event};
  }

  /// One line per event, oldest first: "step 120 batch_committed 3".
  std::vector<std::string> lines() const;

 private:
  struct entry {
    std::int64_t step;
    std::int64_t detail;
    protocol_event event;
  };
  std::array<entry, 256> entries_ = {};
  std::size_t count_ = 0;
};

}  // namespace ballast

#pragma once
// Chains of moves: an expert of the fullest ranks takes a slot, the expert from there takes
// another, and so on, until a redundant replica is dropped, a slot was free, or the last expert
// takes the place of the first. They help where ranks are full of experts too heavy for single
// moves, as with few slots per rank.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/flow_groups.hpp"
#include "policies/flow_state.hpp"

namespace ballast {

/// What a chain is to do.
struct chain_task {
  std::span<const std::int32_t> block_of;  ///< [ranks]
  std::int32_t block = 0;                  ///< the one to relieve
  std::span<const std::int32_t> sources;   ///< slots of its ranks whose experts may leave
  std::span<const std::int32_t> open;      ///< ranks with a free usable slot
  std::int64_t limit = 0;  ///< no rank of a chain, nor the block, ends above this level
  int longest = 4;         ///< assignments
};

/// Searches breadth first, so a chain found has the fewest assignments. A replica is taken to move
/// with the load that it carries; each rank takes part once, so the chain keeps the limit (but for
/// what is left to settle) if every step does. A search enters every slot at most once: nearly all
/// that a chain could do from there is open to the shorter one.
class chain_finder {
 public:
  /// The assignments in the order to make them; empty if there is no chain.
  std::span<const assignment> find(const flow_state& state, const group_homes& homes,
                                   const chain_task& task);

 private:
  /// An expert that has lost its slot and needs another.
  struct node {
    std::int32_t slot;  // that it has lost
    std::int32_t expert;
    std::int32_t parent;  // the node that took the slot; -1: one of the sources
    std::int64_t weight;
    std::uint8_t depth;
    bool stays;  // a source that keeps its slot and hands on a part
  };
  struct entry {
    std::int64_t capacity;  // the most that may come into the slot
    std::int32_t slot;
  };

  void list_entries(const flow_state& state, const chain_task& task);
  void list_sources(const flow_state& state, const chain_task& task);
  void search(const flow_state& state, const group_homes& homes, const chain_task& task);
  bool finish(const flow_state& state, const group_homes& homes, const chain_task& task,
              std::int32_t at);
  bool can_drop(const flow_state& state, const node& last) const;
  void expand(const flow_state& state, const group_homes& homes, std::int32_t at);
  bool is_free_for(const flow_state& state, int rank, std::int32_t expert, std::int32_t at) const;
  bool take(std::int32_t at, std::int32_t slot);

  std::int64_t excess_ = 0;         // of the block over the limit
  std::vector<std::int64_t> room_;  // [ranks] up to the limit
  std::vector<entry> entries_;      // slots not entered yet, largest capacity first
  std::vector<entry> all_entries_;
  std::vector<node> nodes_;
  std::vector<node> leavers_;  // sources that leave their slots
  std::vector<assignment> chain_;
};

}  // namespace ballast

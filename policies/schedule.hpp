#pragma once
// How to get from one placement to another without ever losing an expert: which weights travel from
// which slot to which, in what order, and in what batches. Each batch's commit leaves a legal
// placement, and two consecutive batches can be in flight at once. A pure function of its request.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "policies/placement.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

/// How the weights reach the target row. `spare`: the row is empty, they land in it. `vacate`: the
/// expert now in it keeps another replica; routing stops using the row, then they land in it.
/// `staged`: they land in a staging row of the target rank and are copied at commit.
enum class move_way : std::uint8_t { spare = 0, vacate = 1, staged = 2 };
const char* to_string(move_way way);

/// One expert's weights from one slot to another of the same layer.
struct scheduled_move {
  std::int32_t layer = 0;
  std::int32_t expert = 0;
  std::int32_t source_slot = 0;
  std::int32_t target_slot = 0;
  std::int32_t source_rank = 0;
  std::int32_t target_rank = 0;
  link_class link = link_class::local;
  move_way way = move_way::spare;
  std::int32_t round = 0;  ///< within the batch
  std::int32_t forwards =
      -1;  ///< -1: the source slot is live. Else the index in schedule::moves of the move of the
           ///< same batch, of an earlier round, whose arrival is the source: where that one landed
           ///< (row or staging row) is read.
  std::int32_t staging_row = -1;  ///< of the target rank's half for this batch, where way is staged
  bool operator==(const scheduled_move&) const = default;
};

/// A slot that stops serving its expert without receiving another: it is empty after the batch's
/// commit.
struct slot_release {
  std::int32_t layer = 0;
  std::int32_t slot = 0;
  bool operator==(const slot_release&) const = default;
};

/// Moves [first_move, first_move + move_count) and releases [first_release, first_release +
/// release_count). Rows of its `vacate` moves stop serving when the batch starts; its moves'
/// targets start serving, and its releases and the experts overwritten by `staged` moves stop, when
/// it commits.
struct batch {
  std::int32_t first_move = 0;
  std::int32_t move_count = 0;
  std::int32_t first_release = 0;
  std::int32_t release_count = 0;
  std::int32_t rounds = 0;
  bool after_previous_commit =
      false;  ///< may only start once the batch before has committed; otherwise it may be in
              ///< flight together with it (never with an earlier one)
  bool operator==(const batch&) const = default;
};

struct schedule {
  std::vector<scheduled_move> moves;
  std::vector<slot_release> releases;
  std::vector<batch> batches;
  bool operator==(const schedule&) const = default;
};

enum class way_choice : std::uint8_t { automatic = 0, vacate = 1, spare = 2, staged = 3 };

struct slot_ref {
  std::int32_t layer = 0;
  std::int32_t slot = 0;
  bool operator==(const slot_ref&) const = default;
};

struct schedule_request {
  const placement* current = nullptr;      ///< not owned; what is live now; empty slots allowed
  const placement* target = nullptr;       ///< not owned; same shape
  const cluster_map* cluster = nullptr;    ///< not owned
  std::int32_t staging_rows = 2;           ///< per rank and half
  std::int32_t receives_per_batch = 4;     ///< at most this many moves reach one rank in one batch
  way_choice way = way_choice::automatic;  ///< a forced way is taken wherever it is legal, the
                                           ///< automatic choice elsewhere
  std::span<const slot_ref> distrusted =
      {};  ///< slots that may not be a source (their copy was found bad)
  std::span<const std::int32_t> rows_per_layer =
      {};  ///< [layers] how many slots of a rank, its first, there are; no others are written.
           ///< Empty: all of the layout's
  std::span<const std::uint8_t> gone_ranks =
      {};  ///< [ranks] nonzero: a rank that neither sends nor receives; its slots are empty,
           ///< whatever `current` says. Empty: none
};

/// Throws std::invalid_argument, in one line that names what and its value: shapes differ, the
/// target is illegal or uses slots that there are not, an expert that must move is in no slot or
/// has only distrusted copies (layer, expert and slot named), a distrusted slot does not exist,
/// staging_rows or receives_per_batch is < 1, or the only rank with slots must permute its own and
/// has room for one staged move a batch and no slot to help out.
///
/// Batches commit in order; when one is dropped, so are those after it. Whatever has committed by
/// then, these hold for every request:
/// - replaying the batches in order turns current into the target's experts, and only changed slots
/// receive; but where
///   min(staging_rows, receives_per_batch) is 1, a swap inside a rank may pass through an unchanged
///   slot and restore it;
/// - every expert has a live replica at every moment: before, between and after the starts and
/// commits of two batches in flight;
/// - no move reads a slot that an uncommitted batch writes before its commit or has under way,
/// except through
///   `forwards`; a batch may read the old content of the rows that its own staged moves overwrite
///   when it commits;
/// - of two batches in flight together the later neither writes, releases nor reads a slot that the
/// earlier writes or releases, and
///   writes before its own commit none that the earlier reads;
/// - in a round a rank has at most one peer it sends to and one it receives from; local moves are
/// bound to no round;
/// - a source is of the nearest link class that has a live, trusted replica; an expert enters a
/// node, an island and a rank
///   over a farther link at most once per batch, then fans out inside it;
/// - moves into one rank never exceed receives_per_batch in a batch; its staged moves never exceed
/// staging_rows, and their rows are
///   numbered from 0;
/// - no batch is empty; moves are listed by round, layer and target slot, releases by layer and
/// slot. A distrusted slot that the target leaves as it is stays as it is. A slot becomes trusted
/// by receiving.
schedule make_schedule(const schedule_request& request);

/// The shares that serve while a layer is between two placements: an expert whose live replicas are
/// those of the target has the target's shares, any other is split equally, what does not divide
/// going to the lowest slots. `live` and `shares` are [slots]. `replicas`: [experts] in how many
/// slots of `live` each is; `scratch`: [experts], of any content. Allocates nothing.
void live_shares(std::span<const std::int32_t> live, std::span<const std::int32_t> target,
                 std::span<const std::int32_t> target_shares,
                 std::span<const std::int32_t> replicas, std::span<std::int32_t> scratch,
                 std::span<std::int32_t> shares);

}  // namespace ballast

// Senders and receivers are the two sides of a bipartite graph, so its edges can be coloured with
// as many colours as the largest degree (König): a colour is a round. Transfers that forward
// another's arrival come after, each in the first round that its ranks have free.

#include "policies/schedule_rounds.hpp"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace ballast::scheduling {
namespace {

using pair_of_ranks = std::pair<std::int32_t, std::int32_t>;  // source, target

bool crosses(const transfer& one) { return one.source_rank != one.target_rank; }

std::vector<pair_of_ranks> direct_pairs(std::span<const transfer> transfers) {
  std::vector<pair_of_ranks> pairs;
  for (const transfer& one : transfers)
    if (one.forwards < 0 && crosses(one)) pairs.emplace_back(one.source_rank, one.target_rank);
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

std::int32_t largest_degree(std::span<const pair_of_ranks> pairs, int ranks) {
  std::vector<std::int32_t> sends(ranks, 0), receives(ranks, 0);
  std::int32_t largest = 0;
  for (const auto& [source, target] : pairs)
    largest = std::max({largest, ++sends[source], ++receives[target]});
  return largest;
}

// A partial colouring: which pair a sender or a receiver has in each colour. Pairs are added one by
// one; where sender and receiver have no free colour in common, the path of alternating colours
// that starts at the receiver is flipped. The path cannot end at the sender: it reaches senders by
// the colour that this sender has free.
class colouring {
 public:
  colouring(std::span<const pair_of_ranks> pairs, int ranks, std::int32_t colours)
      : pairs_(pairs),
        colours_(colours),
        colour_of_(pairs.size(), -1),
        of_sender_(static_cast<std::size_t>(ranks) * colours, -1),
        of_receiver_(of_sender_) {
    for (std::size_t pair = 0; pair < pairs.size(); ++pair) add(static_cast<std::int32_t>(pair));
  }

  const std::vector<std::int32_t>& colour_of_pair() const { return colour_of_; }

 private:
  std::int32_t& at_sender(std::int32_t pair, std::int32_t colour) {
    return of_sender_[static_cast<std::size_t>(pairs_[pair].first) * colours_ + colour];
  }
  std::int32_t& at_receiver(std::int32_t pair, std::int32_t colour) {
    return of_receiver_[static_cast<std::size_t>(pairs_[pair].second) * colours_ + colour];
  }
  void paint(std::int32_t pair, std::int32_t colour) {
    colour_of_[pair] = colour;
    at_sender(pair, colour) = at_receiver(pair, colour) = pair;
  }

  void add(std::int32_t pair) {
    std::int32_t free_at_sender = 0, free_at_receiver = 0;
    while (at_sender(pair, free_at_sender) >= 0) ++free_at_sender;
    while (at_receiver(pair, free_at_receiver) >= 0) ++free_at_receiver;
    if (at_receiver(pair, free_at_sender) >= 0)
      flip_path(at_receiver(pair, free_at_sender), free_at_sender, free_at_receiver);
    paint(pair, free_at_sender);
  }

  void flip_path(std::int32_t start, std::int32_t colour, std::int32_t other) {
    std::vector<std::int32_t> path;
    bool through_sender = true;
    for (std::int32_t pair = start, next = other; pair >= 0; through_sender = !through_sender) {
      path.push_back(pair);
      pair = through_sender ? at_sender(pair, next) : at_receiver(pair, next);
      next = next == other ? colour : other;
    }
    for (std::int32_t pair : path)
      at_sender(pair, colour_of_[pair]) = at_receiver(pair, colour_of_[pair]) = -1;
    for (std::int32_t pair : path) paint(pair, colour_of_[pair] == colour ? other : colour);
  }

  std::span<const pair_of_ranks> pairs_;
  std::int32_t colours_;
  std::vector<std::int32_t> colour_of_;                // [pairs]
  std::vector<std::int32_t> of_sender_, of_receiver_;  // [ranks][colours], pair or -1
};

// The colours with most transfers that are forwarded come first, so that their followers start
// early.
std::vector<std::int32_t> round_of_colour(std::span<const transfer> transfers,
                                          std::span<const std::int32_t> colour_of_transfer,
                                          std::int32_t colours) {
  std::vector<std::int32_t> followers(colours, 0), order(colours), round(colours);
  for (const transfer& one : transfers)
    if (one.forwards >= 0 && colour_of_transfer[one.forwards] >= 0)
      ++followers[colour_of_transfer[one.forwards]];
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return followers[a] > followers[b]; });
  for (std::int32_t place = 0; place < colours; ++place) round[order[place]] = place;
  return round;
}

// Which peer each rank sends to and receives from in each round.
struct peer_table {
  explicit peer_table(int rank_count) : ranks(rank_count) {}

  bool is_free(const transfer& one, std::int32_t round) {
    while (static_cast<std::int32_t>(sends_to.size()) <= round) {
      sends_to.emplace_back(ranks, -1);
      receives_from.emplace_back(ranks, -1);
    }
    const std::int32_t to = sends_to[round][one.source_rank];
    const std::int32_t from = receives_from[round][one.target_rank];
    return (to < 0 || to == one.target_rank) && (from < 0 || from == one.source_rank);
  }
  void take(const transfer& one) {
    is_free(one, one.round);  // makes the round's rows
    sends_to[one.round][one.source_rank] = one.target_rank;
    receives_from[one.round][one.target_rank] = one.source_rank;
  }

  int ranks;
  std::vector<std::vector<std::int32_t>> sends_to, receives_from;  // [rounds][ranks], -1 none
};

void place_forwards(std::span<transfer> transfers, int ranks) {
  if (std::none_of(transfers.begin(), transfers.end(),
                   [](const auto& one) { return one.forwards >= 0; }))
    return;
  peer_table peers(ranks);
  for (const transfer& one : transfers)
    if (one.forwards < 0 && crosses(one)) peers.take(one);
  for (transfer& one : transfers) {
    if (one.forwards < 0) continue;
    one.round = transfers[one.forwards].round + 1;
    if (!crosses(one)) continue;
    while (!peers.is_free(one, one.round)) ++one.round;
    peers.take(one);
  }
}

}  // namespace

std::int32_t assign_rounds(std::span<transfer> transfers, int ranks) {
  const std::vector<pair_of_ranks> pairs = direct_pairs(transfers);
  const std::int32_t colours = largest_degree(pairs, ranks);
  const colouring coloured(pairs, ranks, colours);
  std::vector<std::int32_t> colour(transfers.size(), -1);
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    const transfer& one = transfers[i];
    if (one.forwards >= 0 || !crosses(one)) continue;
    const auto pair = std::lower_bound(pairs.begin(), pairs.end(),
                                       pair_of_ranks(one.source_rank, one.target_rank));
    colour[i] = coloured.colour_of_pair()[pair - pairs.begin()];
  }
  const std::vector<std::int32_t> round = round_of_colour(transfers, colour, colours);
  for (std::size_t i = 0; i < transfers.size(); ++i)
    transfers[i].round = colour[i] < 0 ? 0 : round[colour[i]];
  place_forwards(transfers, ranks);
  std::int32_t rounds = 0;
  for (const transfer& one : transfers) rounds = std::max(rounds, one.round + 1);
  return rounds;
}

}  // namespace ballast::scheduling

#include "policies/allot.hpp"

#include <algorithm>

namespace ballast {

namespace {

struct step {
  std::size_t offer;  // to which it leads
  std::int64_t moves;
  scaled_load gain;
};

struct next_step {
  std::size_t layer;
  step what;
};

/// The step from an offer that gains most per move, of equal ones the longest; none gains in the
/// end.
bool best_step(const std::vector<layer_offer>& offers, std::size_t from, step& best) {
  bool found = false;
  for (std::size_t to = 0; to < offers.size(); ++to) {
    const step next{to, offers[to].moves - offers[from].moves,
                    offers[from].level - offers[to].level};
    if (next.moves <= 0 || next.gain <= 0) continue;
    const scaled_load left = found ? next.gain * best.moves : 1;
    const scaled_load right = found ? best.gain * next.moves : 0;
    if (left < right || (left == right && next.moves <= best.moves)) continue;
    best = next;
    found = true;
  }
  return found;
}

/// Of the fewest moves the lowest level.
std::size_t cheapest(const std::vector<layer_offer>& offers) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < offers.size(); ++i) {
    if (offers[i].moves < offers[best].moves ||
        (offers[i].moves == offers[best].moves && offers[i].level < offers[best].level)) {
      best = i;
    }
  }
  return best;
}

}  // namespace

std::vector<std::size_t> allot(std::span<const std::vector<layer_offer>> offers,
                               std::int64_t total) {
  std::vector<std::size_t> chosen;
  std::vector<next_step> queue;
  const auto worse = [](const next_step& a, const next_step& b) {
    const scaled_load left = a.what.gain * b.what.moves;
    const scaled_load right = b.what.gain * a.what.moves;
    return left != right ? left < right : a.layer > b.layer;
  };
  for (std::size_t layer = 0; layer < offers.size(); ++layer) {
    chosen.push_back(cheapest(offers[layer]));
    total -= offers[layer][chosen.back()].moves;
    step first{};
    if (best_step(offers[layer], chosen.back(), first)) queue.push_back({layer, first});
  }
  std::make_heap(queue.begin(), queue.end(), worse);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), worse);
    next_step& top = queue.back();
    const std::size_t layer = top.layer;
    const step taken = top.what;
    queue.pop_back();
    if (taken.moves > total) continue;
    total -= taken.moves;
    chosen[layer] = taken.offer;
    step after{};
    if (!best_step(offers[layer], taken.offer, after)) continue;
    queue.push_back({layer, after});
    std::push_heap(queue.begin(), queue.end(), worse);
  }
  return chosen;
}

}  // namespace ballast

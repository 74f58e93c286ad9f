#pragma once
// What the benchmarks of recording and routing share: made-up router choices, and a context that
// holds next to no weights.

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/replay/setup.hpp"

namespace ballast {

struct id_shape {
  std::int64_t tokens = 0;
  std::int32_t columns = 0;
  std::int32_t experts = 0;
};

/// [tokens][columns] ids, int32 or int64; a low id is more likely than a high one (density
/// proportional to 1 / sqrt(id)), as popular experts are. The same for the same seed.
template <typename Id>
std::vector<Id> make_router_ids(const id_shape& shape, std::uint64_t seed) {
  std::vector<Id> ids(static_cast<std::size_t>(shape.tokens) * shape.columns);
  for (Id& id : ids) {
    std::uint64_t x = seed += 0x9e3779b97f4a7c15ull;  // splitmix64
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    const std::uint64_t u = (x ^ (x >> 31)) >> 32;
    id = static_cast<Id>(((u * u) >> 32) * static_cast<std::uint64_t>(shape.experts) >> 32);
  }
  return ids;
}

/// `ids`, a vector or an array on a GPU, for a C call; they must outlive it.
template <template <typename...> typename Array, typename Id, typename... Rest>
ballast_ids to_call(const Array<Id, Rest...>& ids, const id_shape& shape) {
  ballast_ids call;
  ballast_ids_init(&call);
  call.ids = ids.data();
  call.type = sizeof(Id) == 8 ? BALLAST_IDS_INT64 : BALLAST_IDS_INT32;
  call.columns = shape.columns;
  call.tokens = call.valid_tokens = shape.tokens;
  return call;
}

/// A started context of one layer whose experts are a few bytes each.
class weightless_model {
 public:
  /// Collective. `config`: everything but layers, which is 1.
  weightless_model(const mpi_session& mpi, ballast_config config);
  ballast_context* context() const { return context_.get(); }

 private:
  replay_weights weights_;  // before the context, which reads them until it is destroyed
  context_handle context_;
};

/// "TOKENSxK/EXPERTS"; throws job_error(usage).
id_shape parse_id_shape(const std::string& text);

/// A context that records, and that plans at the end of a window of 1000 steps.
ballast_config record_config(const id_shape& shape, int ranks);

/// What an epoch says of the counts it summed.
struct window_report {
  std::uint64_t digest = 0;
  std::int64_t tokens = 0;
  bool operator==(const window_report&) const = default;
};
/// Collective. Steps to the end of the epoch that sums what has been recorded.
window_report close_window(ballast_context* context);

/// How often to repeat work of `ids` ids so that a case takes a good part of a second.
int repetitions_for(std::int64_t ids);

}  // namespace ballast

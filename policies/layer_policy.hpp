#pragma once
// What a policy that splits tokens equally over replicas is asked, layer by layer. One object per
// thread; it keeps its scratch memory between layers.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "policies/plan.hpp"
#include "policies/request.hpp"

namespace ballast {

struct layer_question {
  const plan_request& request;
  int layer = 0;

  std::span<const std::int64_t> loads() const { return cut(request.loads, 0); }
  /// 0 where the request has no series.
  int windows() const { return static_cast<int>(request.series.size() / (layers() * experts())); }
  std::span<const std::int64_t> window(int index) const {
    return cut(request.series, static_cast<std::size_t>(index));
  }
  const slot_layout& layout() const { return request.current->layout(); }
  std::span<const std::int32_t> current() const { return request.current->experts_of(layer); }

 private:
  std::size_t layers() const { return static_cast<std::size_t>(request.current->layers()); }
  std::size_t experts() const { return static_cast<std::size_t>(request.current->experts()); }
  std::span<const std::int64_t> cut(std::span<const std::int64_t> all, std::size_t window) const {
    return all.subspan((window * layers() + static_cast<std::size_t>(layer)) * experts(),
                       experts());
  }
};

class layer_policy {
 public:
  virtual ~layer_policy() = default;

  /// `expert_of_slot`: [slots], overwritten; no_expert where a slot stays empty.
  virtual void plan_layer(const layer_question& question,
                          std::span<std::int32_t> expert_of_slot) = 0;

  /// Whether the policy found its plan better by more than the loads, so that they alone must not
  /// judge it again.
  virtual bool weighs_the_series(const layer_question&) const { return false; }
};

/// The policy of the task; null for `static` and `flow`, which are not of this kind.
std::unique_ptr<layer_policy> make_layer_policy(const plan_request& request,
                                                const planning_task& task);

}  // namespace ballast

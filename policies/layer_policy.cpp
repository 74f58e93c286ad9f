#include "policies/layer_policy.hpp"

#include <algorithm>

#include "policies/deepseek.hpp"
#include "policies/deepseek_vec.hpp"
#include "policies/flash.hpp"
#include "policies/random.hpp"
#include "policies/swift.hpp"
#include "policies/trtllm.hpp"

namespace ballast {

namespace {

class random_policy : public layer_policy {
 public:
  void plan_layer(const layer_question& question, std::span<std::int32_t> expert_of_slot) override {
    std::ranges::copy(question.current(), expert_of_slot.begin());
    swap_at_random(question.request.seed, question.layer, question.layout(), expert_of_slot);
  }
};

class deepseek_policy : public layer_policy {
 public:
  explicit deepseek_policy(const deepseek_shape& shape) : planner_(shape) {}

  void plan_layer(const layer_question& question, std::span<std::int32_t> expert_of_slot) override {
    planner_.plan_layer(question.loads(), question.layout(), expert_of_slot);
  }

 private:
  deepseek_planner planner_;
};

}  // namespace

std::unique_ptr<layer_policy> make_layer_policy(const plan_request& request,
                                                const planning_task& task) {
  switch (task.kind) {
    case policy_kind::keep:
    case policy_kind::flow:
    case policy_kind::plugin:
      return nullptr;
    case policy_kind::random:
      return std::make_unique<random_policy>();
    case policy_kind::deepseek:
      return std::make_unique<deepseek_policy>(task.shape);
    case policy_kind::deepseek_vec:
      return std::make_unique<deepseek_vec_policy>(task.shape);
    case policy_kind::trtllm:
      return std::make_unique<trtllm_policy>(task.shape);
    case policy_kind::flash:
      return std::make_unique<flash_policy>(task.usable_slots, request.current->experts());
    case policy_kind::swift:
      return std::make_unique<swift_policy>(task.usable_slots, request.current->experts(),
                                            request.compatible);
  }
  return nullptr;
}

}  // namespace ballast

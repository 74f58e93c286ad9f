#pragma once
// A small model whose experts move in every epoch. Half as many slots again as experts: the hot
// half of the experts has two replicas, and which half is hot changes from window to window, so the
// second replicas of one half give way to those of the other. Weights follow from layer, expert and
// offset, so every byte can be checked where it arrives.

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "jobs/replay/setup.hpp"

namespace ballast {

struct moving_model_shape {
  std::int32_t layers = 0;
  std::int32_t experts = 0;
  std::int32_t spare_rows = 0;
  std::vector<std::size_t> tensor_bytes;  ///< of one expert
};

/// The slots that `ranks` ranks need for it, and what an expert weighs.
replay_shape to_replay_shape(const moving_model_shape& shape, int ranks);

/// Shape, policy and thresholds of the configuration; epochs every `interval` steps.
void set_moving(ballast_config& config, const replay_shape& shape, std::int64_t interval);

/// [experts] tokens of one layer in the window-th window.
std::vector<std::int64_t> loads_of_window(std::int32_t experts, int window);

/// Every so many-th row of some weights, as if there were no others.
class spread_rows : public weight_rows {
 public:
  spread_rows(replay_weights weights, int apart) : weights_(std::move(weights)), apart_(apart) {}
  void fill(int layer, int row, int expert) override { weights_.fill(layer, row * apart_, expert); }
  std::int64_t wrong_bytes(int layer, int row, int expert) const override {
    return weights_.wrong_bytes(layer, row * apart_, expert);
  }
  std::vector<ballast_tensor> tensors(int layer) override;
  /// The row behind it of each tensor, which is one of the others.
  std::vector<std::byte*> behind(int layer, int row);

 private:
  replay_weights weights_;
  int apart_;
};

class moving_model {
 public:
  /// Collective. `config`: what differs from the defaults; shape, policy, interval and thresholds
  /// are set here. Fills the rows and starts. `apart` 2: between the rows of the model lie others
  /// of the same memory, of which Ballast does not know.
  moving_model(const mpi_session& mpi, const moving_model_shape& shape, ballast_config config,
               int apart = 1);

  /// Those between: [layers * rows per rank][tensors].
  std::vector<std::vector<std::byte*>> rows_between();

  ballast_context* context() const { return context_.get(); }
  std::int64_t expert_bytes() const { return shape_.expert_bytes; }

  /// Local. Makes the other half of the experts hot in the window being recorded.
  void record_other_half();

  /// Local. Bytes of this rank's live rows that are not what their expert holds.
  std::int64_t wrong_bytes() const;

 private:
  const mpi_session& mpi_;
  replay_shape shape_;
  spread_rows weights_;  // before the context, which reads them until it is destroyed
  context_handle context_;
  int windows_ = 0;
};

}  // namespace ballast

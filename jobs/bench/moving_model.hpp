#pragma once
// A small model whose experts move in every epoch. Half as many slots again as experts: the hot
// half of the experts has two replicas, and which half is hot changes from window to window, so the
// second replicas of one half give way to those of the other. Weights follow from layer, expert and
// offset, so every byte can be checked where it arrives.

#include <cstdint>
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

class moving_model {
 public:
  /// Collective. `config`: what differs from the defaults; shape, policy, interval and thresholds
  /// are set here. Fills the rows and starts.
  moving_model(const mpi_session& mpi, const moving_model_shape& shape, ballast_config config);

  ballast_context* context() const { return context_.get(); }
  std::int32_t rows_per_rank() const { return shape_.rows_per_rank; }
  std::int64_t expert_bytes() const { return shape_.expert_bytes; }

  /// Local. Makes the other half of the experts hot in the window being recorded.
  void record_other_half();

  /// Local. Bytes of this rank's live rows that are not what their expert holds.
  std::int64_t wrong_bytes() const;

 private:
  const mpi_session& mpi_;
  replay_shape shape_;
  replay_weights weights_;  // before the context, which reads them until it is destroyed
  context_handle context_;
  int windows_ = 0;
};

}  // namespace ballast

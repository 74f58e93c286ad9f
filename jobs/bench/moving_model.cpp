#include "jobs/bench/moving_model.hpp"

#include <numeric>
#include <optional>

namespace ballast {
namespace {

// Long enough that no epoch is still in flight at the next trigger, and a few milliseconds of idle
// steps.
constexpr std::int64_t interval = 1 << 18;

spread_rows allocate(const mpi_session& mpi, const replay_shape& shape, int apart) {
  std::optional<replay_weights> weights;
  together(mpi, [&] {
    weights.emplace(shape.layers, shape.rows_per_rank * apart, shape.tensor_bytes,
                    weight_content::bytes);
  });
  return {std::move(*weights), apart};
}

}  // namespace

replay_shape to_replay_shape(const moving_model_shape& shape, int ranks) {
  replay_shape r;
  r.layers = shape.layers;
  r.experts = shape.experts;
  r.slots_per_rank = (shape.experts + shape.experts / 2 + ranks - 1) / ranks;
  r.rows_per_rank = r.slots_per_rank + shape.spare_rows;
  r.tensor_bytes = shape.tensor_bytes;
  r.expert_bytes = static_cast<std::int64_t>(
      std::accumulate(shape.tensor_bytes.begin(), shape.tensor_bytes.end(), std::size_t{0}));
  return r;
}

void set_moving(ballast_config& config, const replay_shape& shape, std::int64_t interval) {
  config.layers = shape.layers;
  config.experts = shape.experts;
  config.slots_per_rank = shape.slots_per_rank;
  config.spare_rows = shape.rows_per_rank - shape.slots_per_rank;
  config.policy = "deepseek-global";
  config.interval = interval;
  config.gain_min_permille = 0;
  config.memory_windows = 1;  // the windows take turns: what they have in common would move nothing
}

// Loads rise within the hot half: the single replicas that meet them are out of balance, two
// replicas each are not.
std::vector<std::int64_t> loads_of_window(std::int32_t experts, int window) {
  const std::int32_t half = experts / 2;
  const std::int32_t first_hot = window % 2 == 0 ? half : 0;
  std::vector<std::int64_t> loads(static_cast<std::size_t>(experts), 1000);
  for (std::int32_t k = 0; k < half; ++k) loads[first_hot + k] = 2000 + 2000 * k / half;
  return loads;
}

std::vector<ballast_tensor> spread_rows::tensors(int layer) {
  std::vector<ballast_tensor> all = weights_.tensors(layer);
  for (ballast_tensor& t : all) t.row_stride *= apart_;
  return all;
}

std::vector<std::byte*> spread_rows::behind(int layer, int row) {
  std::vector<std::byte*> all;
  for (const ballast_tensor& t : weights_.tensors(layer))
    all.push_back(static_cast<std::byte*>(t.base) + (row * apart_ + 1) * t.row_stride);
  return all;
}

moving_model::moving_model(const mpi_session& mpi, const moving_model_shape& shape,
                           ballast_config config, int apart)
    : mpi_(mpi),
      shape_(to_replay_shape(shape, mpi.size())),
      weights_(allocate(mpi, shape_, apart)) {
  set_moving(config, shape_, interval);
  ballast_context* context = nullptr;
  check(ballast_create(&config, mpi.comm(), &context));
  context_.reset(context);
  load_and_start(mpi, context, shape_, weights_);
}

std::vector<std::vector<std::byte*>> moving_model::rows_between() {
  std::vector<std::vector<std::byte*>> all;
  for (std::int32_t layer = 0; layer < shape_.layers; ++layer) {
    for (std::int32_t row = 0; row < shape_.rows_per_rank; ++row)
      all.push_back(weights_.behind(layer, row));
  }
  return all;
}

void moving_model::record_other_half() {
  const std::vector<std::int64_t> loads = loads_of_window(shape_.experts, windows_++);
  for (std::int32_t layer = 0; layer < shape_.layers; ++layer)
    check(ballast_record_counts(context_.get(), layer, loads.data()));
}

std::int64_t moving_model::wrong_bytes() const {
  std::int64_t wrong = 0;
  ballast_layer_tables tables;
  tables.struct_size = sizeof(tables);
  for (std::int32_t layer = 0; layer < shape_.layers; ++layer) {
    check(ballast_tables(context_.get(), layer, &tables));
    for (std::int32_t row = 0; row < shape_.rows_per_rank; ++row) {
      const std::int32_t expert = tables.expert_of_slot[mpi_.rank() * shape_.rows_per_rank + row];
      if (expert >= 0) wrong += weights_.wrong_bytes(layer, row, expert);
    }
  }
  return wrong;
}

}  // namespace ballast

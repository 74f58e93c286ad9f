// `ballast bench step --backend cuda`.
#include <fmt/format.h>

#include "jobs/bench/cuda/device_model.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/step_measure.hpp"

namespace ballast {

void require_devices(const mpi_session& mpi) { gpu::take_device(mpi, "--backend cuda"); }

void measure_device_steps(const mpi_session& mpi, const step_bench_options& options,
                          bench_table& table) {
  const gpu::place here = gpu::take_device(mpi, "--backend cuda");
  add_gpus(mpi, here, table);
  const gpu::stream compute;
  const moving_model_shape shape = {options.layers, options.experts, 0,
                                    split_quantised(options.expert_kib << 10)};
  {
    ballast_config config = step_config(options);
    config.mode = BALLAST_MODE_STATIC;
    const device_model model(mpi, shape, config, compute);
    measure_idle_steps(mpi, options, model.context(), table);
  }
  device_model model(mpi, shape, step_config(options), compute);
  measure_steps_in_flight(
      mpi, options,
      {model.context(), [&] { model.record_other_half(); }, [&] { return model.wrong_words(); }},
      table);
  table.note(fmt::format("start-up of {} layers: {:.3f} s", options.layers, model.start_seconds()));
}

}  // namespace ballast

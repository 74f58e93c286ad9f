#include "jobs/replay/cuda/device_ffn.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <chrono>
#include <cstring>
#include <numeric>

namespace ballast {
device_ffn::device_ffn(const mpi_session& mpi, device_ffn_shape shape, cudaStream_t stream)
    : shape_(shape),
      rank_(mpi.rank()),
      ranks_(mpi.size()),
      capacity_(static_cast<std::size_t>(shape.tokens_max) * shape.columns),
      stream_(stream) {
  together(mpi, [&] {
    gpu::grow(my_slots_, capacity_);
    gpu::grow(all_slots_, capacity_ * ranks_);
    gpu::grow(host_slots_, capacity_ * ranks_);
    blas_ = std::make_unique<gpu::blas>(stream_);
  });
  if (ranks_ > 1) link_ = std::make_unique<ffn_link>(mpi);
}

void device_ffn::run(const device_weights& weights, const pass& pass, gpu::array<float>& outputs) {
  plan(pass);
  const std::size_t hidden = shape_.sizes.hidden;
  const std::size_t sending = plan_.sent_token.size();
  const std::size_t receiving = plan_.item_at_place.size();
  gpu::grow(tokens_, pass.tokens * hidden);
  gpu::grow(outputs, pass.tokens * hidden);
  gpu::grow(sent_, sending * hidden);
  for (gpu::array<float>* items : {&received_, &x_, &y_}) gpu::grow(*items, receiving * hidden);
  for (gpu::array<float>* items : {&gate_, &up_})
    gpu::grow(*items, receiving * shape_.sizes.intermediate);

  const int width = shape_.sizes.hidden;
  BALLAST_GPU(make_activations({pass.step, pass.layer, rank_}, pass.tokens, width, tokens_.data(),
                               stream_));
  BALLAST_GPU(gather_rows(tokens_.data(), sent_token_, static_cast<std::int64_t>(sending), width,
                          sent_.data(), stream_));
  exchange(sent_.data(), plan_.sent_to, received_.data(), plan_.received_from);
  BALLAST_GPU(gather_rows(received_.data(), item_at_place_, static_cast<std::int64_t>(receiving),
                          width, x_.data(), stream_));
  multiply_begins_.record(stream_);
  multiply(weights, pass.layer);
  multiply_ends_.record(stream_);
  multiplied_ = true;
  BALLAST_GPU(gather_rows(y_.data(), place_of_item_, static_cast<std::int64_t>(receiving), width,
                          received_.data(), stream_));
  exchange(received_.data(), plan_.received_from, sent_.data(), plan_.sent_to);
  BALLAST_GPU(
      combine({sent_.data(), item_of_slot_, pass.tokens, shape_.columns, shape_.sizes.hidden},
              outputs.data(), stream_));
}

// Makes plan_ and brings its lists to the device. When the slots are here all earlier work on the
// stream is complete, so the buffers of the last run are free.
void device_ffn::plan(const pass& pass) {
  const std::size_t used = static_cast<std::size_t>(pass.tokens) * shape_.columns;
  BALLAST_GPU(cudaMemsetAsync(my_slots_.data(), 0xff, capacity_ * sizeof(std::int32_t), stream_));
  if (used > 0)
    BALLAST_GPU(cudaMemcpyAsync(my_slots_.data(), pass.slots, used * sizeof(std::int32_t),
                                cudaMemcpyDeviceToDevice, stream_));
  const bool alone = ranks_ == 1;
  if (!alone) link_->gather({my_slots_.data(), capacity_}, all_slots_.data(), stream_);
  BALLAST_GPU(cudaMemcpyAsync(host_slots_.data(), alone ? my_slots_.data() : all_slots_.data(),
                              capacity_ * ranks_ * sizeof(std::int32_t), cudaMemcpyDeviceToHost,
                              stream_));
  wait(pass);
  if (multiplied_) seconds_before_ = multiply_ends_.seconds_since(multiply_begins_);
  plan_.make({host_slots_.data(), capacity_ * ranks_},
             {rank_, ranks_, shape_.rows_per_rank, shape_.columns});

  const std::vector<std::int32_t>* lists[] = {&plan_.sent_token, &plan_.item_of_slot,
                                              &plan_.item_at_place, &plan_.place_of_item};
  const std::int32_t** on_device[] = {&sent_token_, &item_of_slot_, &item_at_place_,
                                      &place_of_item_};
  std::size_t all = 0;
  for (const auto* list : lists) all += list->size();
  gpu::grow(host_lists_, all);
  gpu::grow(lists_, all);
  std::size_t at = 0;
  for (int i = 0; i < 4; ++i) {
    *on_device[i] = lists_.data() + at;
    std::ranges::copy(*lists[i], host_lists_.data() + at);
    at += lists[i]->size();
  }
  BALLAST_GPU(cudaMemcpyAsync(lists_.data(), host_lists_.data(), all * sizeof(std::int32_t),
                              cudaMemcpyHostToDevice, stream_));
}

// For the stream, but not for ranks that are gone.
void device_ffn::wait(const pass& pass) {
  using steady_clock = std::chrono::steady_clock;
  const auto start = steady_clock::now();
  for (;;) {
    const cudaError_t code = cudaStreamQuery(stream_);
    if (code == cudaSuccess) return;
    if (code != cudaErrorNotReady) gpu::require(code, "expert FFN");
    if (link_) link_->check();
    const double seconds = std::chrono::duration<double>(steady_clock::now() - start).count();
    // Later than Ballast's own votes, so that those are the first to name a rank that hangs.
    if (seconds > shape_.deadline_seconds + 3) {
      throw job_error(exit_code::temporary,
                      fmt::format("step {}, layer {}: expert outputs did not come within {} s",
                                  pass.step, pass.layer, shape_.deadline_seconds + 3));
    }
    sched_yield();
  }
}

void device_ffn::exchange(const float* from, std::span<const std::int32_t> sent, float* to,
                          std::span<const std::int32_t> received) {
  const int width = shape_.sizes.hidden;
  const auto before_me = [&](std::span<const std::int32_t> counts) {
    return static_cast<std::size_t>(
               std::accumulate(counts.begin(), counts.begin() + rank_, std::int64_t{0})) *
           width;
  };
  if (sent[rank_] > 0) {
    BALLAST_GPU(cudaMemcpyAsync(to + before_me(received), from + before_me(sent),
                                static_cast<std::size_t>(sent[rank_]) * width * sizeof(float),
                                cudaMemcpyDeviceToDevice, stream_));
  }
  if (link_) link_->exchange({from, sent, to, received, width}, stream_);
}

// y_ = FFN of x_, a product for each expert that was given tokens.
void device_ffn::multiply(const device_weights& weights, int layer) {
  const int hidden = shape_.sizes.hidden;
  const int wide = shape_.sizes.intermediate;
  for (const expert_batch& batch : plan_.batches) {
    const int m = batch.end - batch.begin;
    const std::size_t narrow_at = static_cast<std::size_t>(batch.begin) * hidden;
    const std::size_t wide_at = static_cast<std::size_t>(batch.begin) * wide;
    const float* x = x_.data() + narrow_at;
    float* gate = gate_.data() + wide_at;
    float* up = up_.data() + wide_at;
    blas_->multiply_transposed(m, wide, hidden, x, weights.floats(layer, 0, batch.row), gate);
    blas_->multiply_transposed(m, wide, hidden, x, weights.floats(layer, 1, batch.row), up);
    BALLAST_GPU(apply_inner(gate, up, static_cast<std::int64_t>(m) * wide, stream_));
    blas_->multiply_transposed(m, hidden, wide, gate, weights.floats(layer, 2, batch.row),
                               y_.data() + narrow_at);
  }
}

}  // namespace ballast
